"""The command of an operation, made of its signature, its text and its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..common import Command, execution_of, place, print_json, region, run_options, sizes
from ..inputs import open_input
from .values import Typed, literal, value_of

if TYPE_CHECKING:
    from ...catalogue.operations import Operation
    from ...catalogue.parameters import Parameter

SHORT = {
    "correct-parts": "correct",
    "mesh": "surfaces",
    "skeleton": "trace",
    "smooth": "gaussian_smoothing",
    "stats": "summary",
    "threshold": "greater",
}
"""Operations under the name that one would type."""
_SHARED: dict[str, tuple[str, Any, str]] = {
    "block_shape": ("N[,N,N]", sizes, "Voxels of a block."),
    "mask": ("PATH", str, "Where it is 0, nothing is done."),
    "roi": ("A:B,A:B,...", region, "Region to run on; the output keeps its shape."),
    "axes": ("NAMES", literal, "Axes to work along, such as zyx."),
    "chunks": ("N[,N,N]", sizes, "Chunks of OUTPUT."),
    "shards": ("N[,N,N]", sizes, "Shards of OUTPUT."),
    "casting": ("checked|unsafe", str, "What does not fit the type of OUTPUT: an error, or numpy's astype."),
    "memory": ("BYTES", int, "Memory that the run may use."),
    "retries": ("N", int, "How often a block that fails is tried again."),
    "resume": ("auto|never|FOLDER", str, "What happens to an unfinished run of the same."),
    "skip_empty": ("", None, "Leave out blocks without a stored chunk."),
    "block_timeout": ("SECONDS", float, "End a worker that is longer in a block."),
    "durability": ("process|node", str, "What has to survive: the process, or the machine."),
}
_SHOWN = {"block_shape", "mask", "axes"}
"""Of these those that --help shows; docs/commands.md has all."""
_KNOWN = {"help", None}
"""Options that need no line: --help itself, and --debug, which errors name."""
_EXAMPLES = {
    "affinities": "volume.zarr/affinities",
    "boundaries": "volume.zarr/boundaries",
    "field": "volume.zarr/field",
    "costs": "costs.npy",
    "distance_threshold": "5",
    "filter_name": "laplacian_of_gaussian",
    "footprint": "ball.npy",
    "graph": "graph.zarr",
    "model": "net.onnx",
    "offsets": "'-1,0,0;0,-1,0;0,0,-1'",
    "operation": "add",
    "outer_scale": "2",
    "output_path": "out.zarr/data",
    "percentile": "10",
    "points": "points.csv",
    "region": "0:64,:,:",
    "scale_factors": "2,2",
    "sigma": "1.5",
    "size": "3",
    "y": "120",
}
"""What stands in the examples of --help, by parameter; else by type."""
_FOLDERS = {"mesh.surfaces": "meshes", "skeleton.trace": "skeletons"}
"""Outputs that are no arrays."""
_ONE_OF = (("size", "footprint"), ("min_size", "max_size"), ("boundaries", "affinities"))
"""Of these an operation needs one, without saying so in its signature: the first is in its example."""
_ALSO = {"watershed": {"halo"}}
"""The same of single operations: in blocks, a watershed needs to know how far it floods."""


class OperationCommand(Command):
    """The command of an operation: what it needs in order, all else as options, and those of runs apart."""

    def __init__(self, name: str, operation: Operation) -> None:
        self.operation = operation
        arguments, options = _own(operation)
        hidden = [_shared(one) for one in _SHARED if one in operation.shared]
        super().__init__(
            name=name,
            callback=self._run,
            params=[*arguments, *options, *hidden, *_how()],
            help=_help(operation),
            epilog=f"\b\nExample (in Python: bp.{operation.full_name}):\n  {example(name, operation)}",
            short_help=operation.summary,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options first, then those that all have."""
        own = {parameter.name for parameter in self.operation.parameters}
        records: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for option in self.get_params(ctx):
            if option.name in _KNOWN:
                continue
            if (record := option.get_help_record(ctx)) is not None:
                records[option.name in own].append(record)
        for title, which in (("Options", True), ("Run", False)):
            if records[which]:
                with formatter.section(title):
                    formatter.write_dl(records[which], col_max=26)

    def _run(self, workers: int, job_type: str, quiet: bool, as_json: bool, dry_run: bool, **given: Any) -> None:
        operation, output = self.operation, self.operation.output
        own = {parameter.name: parameter for parameter in operation.parameters}
        call: dict[str, Any] = {"execution": execution_of(workers, job_type, quiet or as_json)}
        for name, value in given.items():
            if value is None or (name == "skip_empty" and not value):
                continue
            if name in operation.declaration.outputs and name in own:
                call[name] = _target(value)
            elif name in own:
                call[name] = value_of(own[name], value) if isinstance(value, str) else value
            else:
                call[name] = open_input(value, None) if name == "mask" else value
        if "verbose" in own:
            call.setdefault("verbose", not (quiet or as_json))
        result = operation.call(**call, **({"plan": True} if dry_run else {}))
        if dry_run:
            _tell(result, str(result), as_json)
        elif output is not None and output.name in call and _is_array(output):
            written = {name: str(given[name]) for name in operation.declaration.outputs if given.get(name) is not None}
            _tell_written(written, result, as_json)
        else:
            from .results import lines

            _tell(result, lines(result), as_json)


def _own(operation: Operation) -> tuple[list[click.Parameter], list[click.Parameter]]:
    """Arguments: sources that it needs and where to write; options: all else."""
    arguments: list[click.Parameter] = []
    options: list[click.Parameter] = []
    for parameter in operation.parameters:
        if parameter is operation.output:
            continue
        if parameter.name == "graph" or (parameter.required and parameter.kind in ("source", "number or source")):
            arguments.append(_argument(parameter, True))
        else:
            options.append(_option(parameter))
    if operation.output is not None:
        arguments.append(_argument(operation.output, operation.output.required or _is_array(operation.output)))
    return arguments, options


def _is_array(output: Parameter) -> bool:
    """Whether an output is an array: without a path on a command line there is none."""
    return output.kind == "source"


def _argument(parameter: Parameter, required: bool) -> click.Argument:
    metavar = "OUTPUT" if parameter.name in ("output_path", "outputs") else parameter.name.upper()
    return click.Argument(
        [parameter.name], required=required, type=Typed(parameter), metavar=metavar if required else f"[{metavar}]"
    )


def _option(parameter: Parameter) -> click.Option:
    name, help = parameter.name.replace("_", "-"), parameter.sentence
    default = parameter.default
    shown = "" if parameter.required or default is None or isinstance(default, tuple) else f"  [default: {default}]"
    if parameter.kind == "flag":
        return Flag(
            [f"--{name}/--no-{name}"], default=None, help=f"{help}.", hidden=name == "verbose", on=bool(default)
        )
    kind: Any = Typed(parameter)
    if parameter.kind == "choice":
        kind = click.Choice(parameter.choices)
    return click.Option(
        [f"--{name}"],
        required=parameter.required,
        type=kind,
        metavar=_metavar(kind),
        help=f"{help}.{shown}",
        hidden=parameter.kind == "callable" and not parameter.required,
    )


def _metavar(kind: Any) -> str:
    return "|".join(kind.choices) if isinstance(kind, click.Choice) else str(kind.name)


class Flag(click.Option):
    """A pair --x/--no-x, of which help shows the one that changes something."""

    def __init__(self, *args: Any, on: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on = on

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The one, and what the keyword means."""
        record = super().get_help_record(ctx)
        names = self.secondary_opts if self._on else self.opts
        return record and (names[0], f"{'Not: ' if self._on else ''}{self.help}")


class _Parsed(click.ParamType):
    """A shared keyword, read by its function."""

    name = "value"

    def __init__(self, parse: Any) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What Python takes."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


def _shared(name: str) -> click.Option:
    metavar, parse, help = _SHARED[name]
    option = [f"--{name.replace('_', '-')}"]
    if parse is None:
        return click.Option(option, is_flag=True, default=False, help=help, hidden=name not in _SHOWN)
    return click.Option(option, metavar=metavar, type=_Parsed(parse), help=help, hidden=name not in _SHOWN)


def _how() -> list[click.Parameter]:
    """How to run, as every command has it."""

    @run_options
    def of_a_run() -> None: ...

    options: list[click.Parameter] = list(reversed(of_a_run.__click_params__))  # type: ignore[attr-defined]
    return [
        *options,
        click.Option(["--dry-run"], is_flag=True, help="Print the plan; run and write nothing."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    ]


def _help(operation: Operation) -> str:
    """The first paragraph, and what the arguments are."""
    told = [f"{operation.summary.replace('`', '')}"]
    for parameter in operation.parameters:
        if parameter is not operation.output and parameter.required and parameter.kind == "number or source":
            told.append(f"{parameter.name.upper()} is a number or a PATH.")
    return "\n\n".join(told)


def example(name: str, operation: Operation) -> str:
    """A line that one might type; what it names need not exist."""
    arguments, options = _own(operation)
    by_name = {parameter.name: parameter for parameter in operation.parameters}
    words = ["bioimage-py", name]
    words += [
        _EXAMPLES.get(str(one.name), _path(by_name[str(one.name)], operation)) for one in arguments if one.required
    ]
    needed = {str(option.name) for option in options if option.required}
    needed |= {first for first, *others in _ONE_OF if {first, *others} <= by_name.keys()}
    needed |= _ALSO.get(operation.name, set())
    for option in sorted(needed):
        words += [f"--{option.replace('_', '-')}", _EXAMPLES.get(option, _by_type(by_name[option]))]
    return " ".join(words)


def _path(parameter: Parameter, operation: Operation) -> str:
    if parameter is operation.output:
        return _FOLDERS.get(operation.full_name, "out.zarr/data")
    if "boundar" in parameter.text:
        return "volume.zarr/boundaries"
    if "abel" in parameter.text or parameter.name in ("segmentation", "groundtruth", "seeds", "labels"):
        return "volume.zarr/labels"
    return "volume.zarr/raw"


def _by_type(parameter: Parameter) -> str:
    if parameter.kind == "callable":
        return f"work.py:{parameter.name}"
    if parameter.kind == "choice":
        return parameter.choices[0]
    if parameter.kind == "table":
        return "'1,2;3,4'" if "shape (n" in parameter.type else "1:2,2:2" if "mapping" in parameter.type else "1,2"
    return "2"


def _target(text: str) -> Any:
    """Where to write: a path, or a region of an array that is there."""
    path, box = place(text)
    if box is None:
        return text
    from ...sources.file import open_source
    from ...wrapper import RoiSource

    return RoiSource(open_source(path, mode="r+"), box)


def _tell(result: Any, text: str, as_json: bool) -> None:
    if as_json:
        from .results import jsonable

        print_json(jsonable(result))
    else:
        click.echo(text)


def _tell_written(paths: Mapping[str, str], result: Any, as_json: bool) -> None:
    """Say what is there now, and what else was found, such as the largest id."""
    from ...sources import Source
    from .results import jsonable, lines

    parts = list(result) if isinstance(result, list | tuple) else [result]
    arrays = [part for part in parts if isinstance(part, Source)]
    values = [part for part in parts if not isinstance(part, Source)]
    told = []
    for index, array in enumerate(arrays):
        path = list(paths.values())[min(index, len(paths) - 1)]
        inner = getattr(array, "internal_path", None)
        where = path if inner is None or len(arrays) == 1 else f"{getattr(array, 'path', path)}/{inner}"
        told.append({"path": where, "shape": list(array.shape), "dtype": str(array.dtype)})
    if as_json:
        print_json({"written": told, **({"result": jsonable(values)} if values else {})})
        return
    for one in told:
        click.echo(f"{one['path']}: {'x'.join(map(str, one['shape']))} {one['dtype']}")
    for value in values:
        click.echo(lines(value))


def command_of(name: str) -> OperationCommand | None:
    """The command of a name; None where no operation has it."""
    from ...catalogue.operations import find

    found = find(SHORT.get(name, name.replace("-", "_"))) if "_" not in name else None
    return None if found is None else OperationCommand(name, found)


def name_of(operation: Operation) -> str:
    """The name of the command of an operation."""
    short = {whole: one for one, whole in SHORT.items()}
    return short.get(operation.name, operation.name.replace("_", "-"))
