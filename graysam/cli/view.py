"""`graysam view`: a page in the browser on which a box becomes a mask at once, and corrections are kept."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graysam.console import run_command

if TYPE_CHECKING:
    from graysam.view.catalogue import Catalogue
    from graysam.view.workspace import Workspace

logger = logging.getLogger(__name__)

UPLOADS = "graysam-view-"  # and the process, and letters by chance: a folder for what is dropped on the page
EPILOGUE = """\
The page is at an address of this machine alone, with a random token in it; nothing is fetched from
elsewhere. Without FILE or FOLDER there are drawn cases, and files can be dropped on the page; what
is dropped is deleted when the program ends.

Everything that is written goes to --out: NAME.session, to which each change is added at once and
from which the work goes on at the next start; and, when you save, the label map in the format of
the image, and boxes.csv. Without --out this is FOLDER-graysam next to the folder, NAME-graysam next
to the file, or graysam-view in the current folder.

exit status: 0 fine; 2 nothing could be done
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C, and give the exit status."""
    options = parse_options(argv)
    return run_command(lambda: view(options), verbosity=options.verbosity, if_interrupted="ended")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong options end the program with exit status 2."""
    parser = argparse.ArgumentParser(
        prog="graysam view",
        description="Look at images and volumes in the browser, draw boxes, correct masks, save label maps.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("place", nargs="?", type=Path, metavar="FILE|FOLDER", help="an image, a volume, or a folder")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="where everything is written; made if missing")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, default=True, help="open the page in the browser"
    )
    parser.add_argument("--boxes", type=Path, metavar="PATH", help="boxes to begin with, as for graysam predict")
    parser.add_argument("--modality", metavar="NAME", help="as for graysam predict")
    parser.add_argument("--window", default="", metavar="W", help="as for graysam predict")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="folder or checkpoint of another model")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: what this process may use)")
    parser.add_argument(
        "-v", "--verbose", dest="verbosity", action="store_const", const=1, default=0, help="also tracebacks"
    )
    options = parser.parse_args(argv)
    if not 0 <= options.port <= 65535:
        parser.error(f"--port {options.port}: wanted 0 to 65535")
    return options


def view(options: argparse.Namespace) -> int:
    """Serve until interrupted.

    Raises:
        GraySamError: a package is missing, nothing can be listed, or the folder of results cannot be written to.
    """
    from graysam.errors import EngineError

    try:
        import uvicorn

        from graysam.view.address import kept_address
        from graysam.view.protocol import MESSAGE_BYTES
        from graysam.view.server import Server
    except ImportError as error:
        raise EngineError(
            f'graysam view needs the package {error.name}; run: pip install "graysam[view]", or in a checkout '
            "pip install -r requirements/view.txt"
        ) from error
    # As for Ctrl-C, so that what was uploaded is deleted, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    remove_stale_uploads(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{UPLOADS}{os.getpid()}-") as uploads:
        catalogue, workspace = _workspace(options, Path(uploads))
        with kept_address(workspace.out, options.port) as (listener, token), contextlib.suppress(KeyboardInterrupt):
            port = listener.getsockname()[1]

            def show() -> None:
                address = f"http://127.0.0.1:{port}/{token}/"
                logger.info("look at %s", address)
                logger.info("results go to %s; end with Ctrl-C", workspace.out)
                if options.browser:
                    webbrowser.open(address)

            server = Server(workspace, first_case=_first_case(options.place, catalogue), on_start=show)
            config = uvicorn.Config(
                server.app(token=token, port=port),
                log_config=None,  # its lines would show the token
                access_log=False,
                log_level="warning",
                ws="websockets-sansio",
                ws_max_size=MESSAGE_BYTES,
                ws_per_message_deflate=False,  # packing costs more than this machine's own wire
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=3,
            )
            uvicorn.Server(config).run(sockets=[listener])
    return 0


def remove_stale_uploads(folder: Path) -> None:
    """Delete the uploads of our own servers that were killed; those of servers that run stay."""
    for path in folder.glob(f"{UPLOADS}*"):
        number = path.name.removeprefix(UPLOADS).partition("-")[0]
        with contextlib.suppress(OSError):
            is_ours = number.isdigit() and not path.is_symlink() and path.stat().st_uid == os.getuid()
            if is_ours and not Path("/proc", number).exists() and Path("/proc").is_dir():
                shutil.rmtree(path, ignore_errors=True)


def default_out(place: Path | None) -> Path:
    """Give the folder of results where --out names none; see EPILOGUE."""
    if place is None:
        return Path("graysam-view")
    name = place.resolve().name
    if place.is_file():
        from graysam.formats.image_volume import stem_of

        name = stem_of(Path(name))
    return place.resolve().parent / f"{name}-graysam"


def _workspace(options: argparse.Namespace, uploads: Path) -> tuple[Catalogue, Workspace]:
    """Make the list of cases, and what serves them.

    Raises:
        GraySamError: wrong options, nothing can be listed, or the folder of results cannot be written to.
    """
    from graysam.api import Segmenter
    from graysam.formats.reading_options import BoxSource, Reading
    from graysam.runner.run import prepare_folder
    from graysam.view.catalogue import Catalogue
    from graysam.view.workspace import Workspace

    place: Path | None = options.place
    reading = Reading(BoxSource(options.boxes), options.modality, options.window)
    reading.check()
    catalogue = Catalogue(place, reading, uploads)
    out = options.out or default_out(place)
    input_dir = uploads if place is None else place.parent if place.is_file() else place
    prepare_folder(out, input_dir, [])
    return catalogue, Workspace(
        catalogue, out, lambda: Segmenter.load(weights=options.weights, threads=options.threads)
    )


def _first_case(place: Path | None, catalogue: Catalogue) -> str | None:
    """Give the id of what is opened at the start: the file that was named, or the only case of the folder."""
    own = [entry for entry in catalogue.entries if entry.source == "folder"]
    return own[0].id if own and (len(own) == 1 or (place is not None and place.is_file())) else None
