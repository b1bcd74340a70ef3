"""Making, opening and listing projects, in folders and on servers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from ..errors import ParameterError
from ..sources.stores.paths import is_url
from .creating import created, folder_of
from .remote import opening as remote
from .remote.opening import Access, ListedProject
from .remote.placed import Placed
from .remote.whole.taking import take_home
from .spaces import OpenSpaces
from .storage.folder import Folder
from .storage.session import Session
from .values.settings import ProjectSettings


class Opened(Placed):
    """What makes a project, or opens one.

    Parameters
    ----------
    name : str
        Name of a new project.
    path : str or os.PathLike
        Its folder, which must be empty or missing.
    """

    def __init__(self, name: str, path: str | os.PathLike[str]) -> None:
        self._open(created(ProjectSettings(name), path))

    def _open(self, root: Path, project_id: str = "", username: str = "", *, autosave: bool = False) -> None:
        self._hold(Session(Folder(root)), project_id, username, autosave=autosave)

    def _hold(self, session: Session, project_id: str = "", username: str = "", *, autosave: bool = False) -> None:
        self._session = session
        self._autosave = autosave
        self._spaces = OpenSpaces(self._session)
        self.project_id, self.username = project_id or self.id, username

    @classmethod
    def create(
        cls,
        settings: ProjectSettings,
        path: str | os.PathLike[str] = "",
        username: str = "",
        password: str = "",
        *,
        token: str = "",
        insecure: bool = False,
        ca: str = "",
    ) -> Self:
        """Make a project.

        Parameters
        ----------
        settings : ProjectSettings
        path : str or os.PathLike
            Folder, which must be empty or missing; or the base URL of a server.
        username, password : str
            For servers; a folder needs none. The password is not kept. Without a user, the API token of
            ``$BIOIMAGE_PY_TOKEN``, or the login that `login` has kept.
        token : str
            API token of the server, in place of user and password.
        insecure : bool, default False
            Accept http to other machines: passwords and data travel without encryption.
        ca : str
            File of the certificates that the server's is signed with; "" for those of the system.

        Raises
        ------
        ParameterError
            The folder is not empty, or none is given; or the URL is not the base URL of a server.
        AccessError
            The server knows no such user, or another password.
        ConflictError
            The user has a project of that name on the server.
        """
        project = cls.__new__(cls)
        if is_url(os.fspath(path)):
            access = Access(username, password, token, insecure, ca)
            project._hold(remote.created(settings, os.fspath(path), access), username=username)
            return project
        project._open(created(settings, path), username=username)
        return project

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        project_id: str | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        token: str = "",
        insecure: bool = False,
        ca: str = "",
        autosave: bool = False,
    ) -> Self:
        """Open a project.

        Parameters
        ----------
        path : str or os.PathLike
            Folder; or the URL of a server, or of a project on it (``https://host/projects/1``).
        project_id : str, optional
            On a server, id or unique name of the project. Of a folder, the id that it must have.
        username, password : str, optional
            For servers; a folder needs none. The password is not kept. Without a user, the API token of
            ``$BIOIMAGE_PY_TOKEN``, or the login that `login` has kept.
        token : str
            API token of the server, in place of user and password.
        insecure : bool, default False
            Accept http to other machines: passwords and data travel without encryption.
        ca : str
            File of the certificates that the server's is signed with; "" for those of the system.
        autosave : bool, default False
            Save every change at once, outside of ``with project:``; else it waits for `save`.

        Raises
        ------
        SourceNotFoundError
            There is no project.
        ParameterError
            It has another id.
        FormatError
            A newer version wrote the project.
        KeyNotFoundError
            The server has no such project, or the user is no member.
        AccessError
            The server knows no such user, or another password.
        """
        project = cls.__new__(cls)
        if is_url(os.fspath(path)):
            access = Access(username or "", password or "", token, insecure, ca)
            session = remote.loaded(os.fspath(path), project_id, access)
            project._hold(session, username=username or "", autosave=autosave)
            return project
        project._open(folder_of(path), project_id or "", username or "", autosave=autosave)
        if project.project_id != project.id:
            raise ParameterError(
                f"The project in {project.path} has the id {project.id!r}, not {project_id!r}.",
                remedy="leave project_id out, or give another path",
            )
        return project

    @classmethod
    def list(
        cls,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        token: str = "",
        insecure: bool = False,
        ca: str = "",
    ) -> tuple[ListedProject, ...]:
        """Return the projects of a server of which the user is a member.

        Parameters
        ----------
        url : str
            Base URL of the server.
        username, password, token, insecure, ca
            As for `load`.

        Returns
        -------
        tuple of ListedProject
            Of each its id, name, the user's role, the number of its data sets and the time of the last change.

        Raises
        ------
        ParameterError
            That is not the base URL of a server, or it is not encrypted.
        AccessError
            The server knows no such user, or another password.

        Examples
        --------
        >>> [one.name for one in Project.list("https://labels.example.org", "alice", "...")]  # doctest: +SKIP
        ['study']
        """
        return remote.listed(url, Access(username or "", password or "", token, insecure, ca))

    @classmethod
    def upload(
        cls,
        project: str | os.PathLike[str] | Opened,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        token: str = "",
        insecure: bool = False,
        ca: str = "",
    ) -> Self:
        """Send a whole project to a server, and return it as it is there; all ids stay.

        What was cut off goes on with the same call. The project in the folder stays as it is.

        Parameters
        ----------
        project : str, os.PathLike or Project
            Folder, or a project that was opened; what was not saved is not sent.
        url : str
            Base URL of the server.
        username, password, token, insecure, ca
            As for `load`.

        Raises
        ------
        ConflictError
            The server has the project already, or the user another one of that name.
        ParameterError
            Images have relative paths, or a file is not as this package stores it; `validate` tells more.

        Examples
        --------
        >>> Project.upload("study.project", "https://labels.example.org", "alice", "...")  # doctest: +SKIP
        """
        folder = Path(project.path) if isinstance(project, Opened) else folder_of(project)
        sent = cls.__new__(cls)
        access = Access(username or "", password or "", token, insecure, ca)
        sent._hold(remote.uploaded(folder, url, access), username=username or "")
        return sent

    def download(self, folder: str | os.PathLike[str]) -> Self:
        """Take a whole project of a server home, file by file as the server has it, and return it; all ids stay.

        What was cut off goes on with the same call. Images that are only referenced are not fetched.

        Parameters
        ----------
        folder : str or os.PathLike
            Empty or missing.

        Raises
        ------
        ParameterError
            Something else lies there, or this project is in a folder itself.
        AccessError
            You are no maintainer.
        """
        take_home(self._on_server("download", "copy its folder"), folder_of(folder))
        return type(self).load(folder)

    def _changed(self) -> None:
        """Save what was changed just now, where that is wished."""
        if self._autosave and not self._session.in_transaction:
            self._session.save()
