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

    def _open(self, root: Path, project_id: str = "", username: str = "") -> None:
        self._hold(Session(Folder(root)), project_id, username)

    def _hold(self, session: Session, project_id: str = "", username: str = "") -> None:
        self._session = session
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
            project._hold(remote.loaded(os.fspath(path), project_id, access), username=username or "")
            return project
        project._open(folder_of(path), project_id or "", username or "")
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
