"""A label project: a folder of settings, data sets and annotations, and the jobs over them."""

from __future__ import annotations

from ..markup import table
from .aliases import deprecate
from .content import Content
from .jobs import edit, prune
from .jobs.apply import apply
from .values.settings import ProjectSettings

_SHOWN = 10
"""Data sets that a notebook lists."""


class Project(Content):
    """A label project in a folder.

    What is set, added and deleted waits for `save`; annotation data is saved at once. Inside ``with project:`` both
    are saved together at the end, or, after an exception, neither.

    Parameters
    ----------
    name : str
        Name of a new project.
    path : str or os.PathLike
        Its folder, which must be empty or missing; `Project.load` opens one that exists.

    Raises
    ------
    ParameterError
        The folder is not empty.
    """

    apply = apply

    def edit(self, settings: ProjectSettings, *, dry_run: bool = False) -> edit.EditPlan:
        """Apply settings; tags, layers and labels are matched by their id, so a rename keeps its data.

        Voxels of a label that is removed become 0, those of one whose value changes get the new value. The state
        before is kept in a backup. Saved at once, or at the end of the transaction.

        Parameters
        ----------
        settings : ProjectSettings
            What `settings` returned, changed; anything new has an empty id.
        dry_run : bool, default False
            Change nothing, and return what would be.

        Returns
        -------
        EditPlan
            What is kept, renamed, added, deleted, and which annotations are lost.

        Raises
        ------
        ParameterError
            An id that the project does not have, or another kind for one that it has.
        LockError
            Somebody else has locked a data set whose annotations it touches.
        ConflictError
            Somebody else changed the same.
        """
        plan = edit.plan_edit(self, settings)
        if not dry_run:
            edit.apply_edit(self, settings, plan)
        return plan

    def restore_backup(self) -> None:
        """Undo the last `edit` that was not undone yet, keeping what was changed since elsewhere.

        One of which nothing is left to undo is passed over.

        Raises
        ------
        SourceNotFoundError
            There is no backup.
        ConflictError
            Something that the edit changed was changed again since.
        """
        edit.restore(self)

    def prune(self, older_than: float = 3600.0) -> int:
        """Remove files that nothing points to any more, and return their number; on a server, maintainers may.

        That are earlier versions of annotations, annotations of what was deleted, drafts, and backups of `edit`.

        Parameters
        ----------
        older_than : float, default 3600.0
            Age in seconds; younger ones may still be read or written by somebody. Copies of images whose data sets
            another process has added, but not saved for so long, go too. On a server, drafts and what was sent for a
            commit stay for a week.
        """
        remote = self._session.remote
        return prune.prune(self, older_than) if remote is None else int(remote.prune(older_than))

    def _repr_html_(self) -> str:
        """Tables of its data sets (the first ones), layers and tags."""
        settings = self._session.settings
        layers = [
            (layer.name, layer.kind.name, ", ".join(label.name for label in layer.labels)) for layer in settings.layers
        ]
        tags = [(tag.name, tag.kind.name, ", ".join(tag.options)) for tag in settings.tags]
        found = self.descriptors
        shown = [(one.name, " / ".join(map(str, one.grouping))) for one in found[:_SHOWN]]
        title = f"{self.name}: {len(found)} data sets in {self.path}"
        return (
            table(title, ("data set", "group"), shown)
            + table("Layers", ("layer", "kind", "labels"), layers)
            + table("Tags", ("tag", "kind", "options"), tags)
        )


deprecate("grouping_hierachy", "grouping_hierarchy", Project, is_property=True)
