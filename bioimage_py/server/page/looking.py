"""A project that somebody looks at: with which role, and what of it is there for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Path
from fastapi.responses import HTMLResponse

from ...errors import KeyNotFoundError
from ...projects.storage.events import Origin
from ...projects.values.merge import Document
from ...projects.values.models import Layer
from ...projects.values.records import DescriptorRecord
from ...projects.values.settings import ProjectSettings, parse_settings
from ..accounts.members import Right, Role
from ..accounts.sights import Sight, seen
from ..commits import Commit, Wish, commit
from ..served import Served
from ..values import NAME
from .visits import Visit, VisitOf

ProjectId = Annotated[str, Path(pattern=NAME)]
Name = Annotated[str, Path(pattern=NAME)]


@dataclass(frozen=True)
class Looking:
    """A project that somebody looks at.

    Parameters
    ----------
    visit : Visit
    role : Role
    served : Served
    sight : Sight
    """

    visit: Visit
    role: Role
    served: Served
    sight: Sight

    @property
    def id(self) -> str:
        """Id of the project."""
        return self.served.id

    @property
    def path(self) -> str:
        """Path of the project's page."""
        return f"/projects/{self.id}"

    @cached_property
    def settings(self) -> ProjectSettings:
        """The settings, with the layers that are there for the visitor."""
        document = self.served.folder.read("project").document or {}
        return parse_settings(seen("project", document, self.sight, self.served.documents))

    @property
    def annotates(self) -> bool:
        """Whether the visitor may change annotations."""
        return self.role >= Role.annotator

    @property
    def manages(self) -> bool:
        """Whether the visitor may change members and take locks away."""
        return self.role >= Role.maintainer

    def record(self, descriptor: str) -> DescriptorRecord:
        """Return what is saved of a data set, as far as it is told the visitor.

        Raises
        ------
        KeyNotFoundError
            There is none, or not for the visitor.
        """
        return DescriptorRecord.parse(seen(descriptor, self._saved(descriptor), self.sight, self.served.documents))

    def opens(self, descriptor: str) -> DescriptorRecord:
        """Return what is saved of a data set to open its image with, of which nothing else is told; errors as before.

        The visitor may see the image, but perhaps not where it lies.
        """
        return DescriptorRecord.parse(self._saved(descriptor))

    def _saved(self, descriptor: str) -> Document:
        self.sight.check(descriptor)
        document = self.served.folder.read(descriptor).document if descriptor != "project" else None
        if document is None:
            raise KeyNotFoundError(f"There is no data set {descriptor!r} (any more).", remedy="go back to the list")
        return document

    def layer(self, id: str) -> Layer:
        """Return a layer.

        Raises
        ------
        KeyNotFoundError
        """
        for one in self.settings.layers:
            if one.id == id:
                return one
        raise KeyNotFoundError(f"There is no layer {id!r} (any more).", remedy="go back to the project")

    def change(self, *wishes: Wish) -> None:
        """Commit what a visitor has changed; errors as of `commit`."""
        if wishes:
            origin = Origin(self.visit.user.name, "page")
            commit(self.visit.site.projects, self.served, Commit(wishes), self.role, origin)

    def show(self, template: str, **values: Any) -> HTMLResponse:
        """Return a page of the project."""
        return self.visit.show(template, looking=self, **values)


class Looks:
    """Dependency: the visitor must have a right in the project of the path.

    Parameters
    ----------
    right : Right
    """

    def __init__(self, right: Right) -> None:
        self._right = right

    def __call__(self, project: ProjectId, visit: VisitOf) -> Looking:
        """Return who looks at what; errors as of `Members.check`."""
        site = visit.site
        role = site.members.check(visit.user, project, self._right)
        return Looking(visit, role, site.projects.served(project), site.sights.of(visit.user, project, role))


Reads = Annotated[Looking, Depends(Looks(Right.read))]
Annotates = Annotated[Looking, Depends(Looks(Right.annotate))]
Manages = Annotated[Looking, Depends(Looks(Right.manage))]
