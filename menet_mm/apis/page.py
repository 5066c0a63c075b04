"""The page of ``tools/demo.py``, built with gradio: only what stands where; :mod:`menet_mm.apis.demo` does the work."""

import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from menet_mm.errors import InputError

from .demo import Demo
from .uploads import MOST_BYTES, check_upload, is_video

#: The browser asks no other server, whatever gradio's own page or an upload says.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'"
)
BUTTONS = ['download', 'fullscreen']  # not gradio's third, which shares on another server
PHONE = '@media (max-width: 640px) { .maps .grid-container { grid-template-columns: 1fr !important } }'
FONTS = ['ui-sans-serif', 'system-ui', 'sans-serif']
TIMES = ['model', 'read + prepare, ms', 'network, ms', 'decode + draw, ms', 'sum, ms']
GATES = """A unit of MENet multiplies its features by a gate of 0 to 1, for every pixel and channel. The maps show the mean over
channels: yellow is where a stage lets most through, dark blue where it lets least. Each map has its own scale, in its caption."""
SWITCHED = """The same weights, with the gates as they were learnt; with the mean of each channel in their place, which has the same
strength and no places; and without the side path, where every gate is 1, a strength that the later layers never saw in training."""
NO_GATES = 'This network has no ME path, so there are no gates to show.'


class _OwnServerOnly:
    """Adds :data:`POLICY` to every answer of a server."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def add(message: dict) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], (b'content-security-policy', POLICY.encode())]
            await send(message)

        await self.app(scope, receive, add)


def _look(demo: Demo, folder: Path, path: str | None, name: str, score_thr: float) -> list:
    """Values of: the upload that is looked at, message, picture, video, what is found, times."""
    nothing = [
        gr.update(visible=False),
        gr.update(value=None, visible=True),
        gr.update(value=None, visible=False),
        [],
        [],
    ]
    if not path:
        return [None, *nothing]
    try:
        check_upload(Path(path))
        if not is_video(Path(path)):
            look = demo.look(Path(path), name, score_thr)
            return [path, nothing[0], gr.update(value=look.drawing, visible=True), nothing[2], look.rows, look.times]
        for drawn in folder.iterdir():  # which the page has a copy of
            drawn.unlink()
        said = demo.video(Path(path), name, score_thr, folder / 'drawn.webm')
        film = gr.update(value=str(folder / 'drawn.webm'), visible=True)
        return [path, gr.update(value=said, visible=True), gr.update(visible=False), film, [], []]
    except InputError as error:
        sentence = str(error).replace(path, Path(path).name)
        return [None, gr.update(value=sentence, visible=True), *nothing[1:]]


def _gates(demo: Demo, path: str | None, score_thr: float) -> list:
    """Values of: stages, results with and without gates, their table, units."""
    if not path or not demo.has_gates or is_video(Path(path)):
        return [[], [], [], []]
    look = demo.gates(Path(path), score_thr)
    return [look.stages, look.switched, look.rows, look.units]


def build_page(demo: Demo, folder: Path, score_thr: float = 0.3) -> gr.Blocks:
    """Build the page; drawn videos go through ``folder``."""
    with gr.Blocks(title='menet_mm', analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown('# Try a model')
        current = gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                file = gr.File(label='Picture or video', height=120)
                with gr.Accordion('Camera', open=False):
                    camera = gr.Image(sources=['webcam'], type='filepath', image_mode=None, show_label=False)
                model = gr.Radio(list(demo.models), value=next(iter(demo.models)), label='Model')
                threshold = gr.Slider(0, 1, score_thr, step=0.01, label='Score threshold')
            with gr.Column(scale=3, min_width=320):
                message = gr.Textbox(label='Message', visible=False, interactive=False)
                with gr.Tab('Result'):
                    picture = gr.Image(label='What is found', format='jpeg', interactive=False, buttons=BUTTONS)
                    film = gr.Video(label='What is found', visible=False, interactive=False, buttons=BUTTONS[:1])
                    rows = gr.Dataframe(
                        headers=['class', 'score', 'box: x1, y1, x2, y2'], label='Found', interactive=False
                    )
                    times = gr.Dataframe(headers=TIMES, label='Milliseconds', interactive=False)
                with gr.Tab('What the gates do'):
                    gates = _gates_tab(demo)
        look, settings = partial(_look, demo, folder), [model, threshold]
        views = [current, message, picture, film, rows, times]
        hidden = dict(api_visibility='private')
        for event in (
            file.upload(look, [file, *settings], views, api_name='look'),
            file.clear(look, [file, *settings], views, **hidden),
            camera.change(look, [camera, *settings], views, **hidden),
            model.change(look, [current, *settings], views, **hidden),
            threshold.release(look, [current, *settings], views, **hidden),
        ):
            event.then(partial(_gates, demo), [current, threshold], gates, **hidden)
    return page.queue(default_concurrency_limit=1, max_size=20)


def _gates_tab(demo: Demo) -> list[gr.components.Component]:
    there = demo.has_gates
    gallery = dict(
        format='jpeg', buttons=BUTTONS, interactive=False, visible=there, object_fit='contain', elem_classes='maps'
    )
    gr.Markdown(GATES if there else NO_GATES)
    stages = gr.Gallery(label='Gates by stage', columns=3, **gallery)
    gr.Markdown(SWITCHED, visible=there)
    switched = gr.Gallery(label='With and without', columns=3, **gallery)
    headers = ['class', 'score', 'with mean gates', 'without side path']
    rows = gr.Dataframe(headers=headers, label='Scores', interactive=False, visible=there)
    units = gr.Gallery(label='Gates by unit', columns=4, **gallery)
    return [stages, switched, rows, units]


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Start a page in threads of its own, and return its address. It asks no other server and is shared with none.

    Raises ``InputError`` if the address cannot be listened on.
    """
    theme = gr.themes.Default(font=FONTS, font_mono=['ui-monospace', 'monospace'])
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            max_file_size=MOST_BYTES,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme,
            css=PHONE,
            app_kwargs=dict(middleware=[Middleware(_OwnServerOnly)]),
        )
    except OSError as error:
        raise InputError(f'cannot listen on {host}, port {port} ({error}): give another --port or --host') from None
    return page.local_url


def serve(demo: Demo, host: str, port: int, score_thr: float) -> None:
    """Show the page until Ctrl-C or SIGTERM, and delete what was uploaded. Raises ``InputError`` as :func:`launch` does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        page = build_page(demo, Path(folder), score_thr)
        print(f'{launch(page, host, port)} shows {", ".join(demo.models)}; Ctrl-C ends it', flush=True)
        page.block_thread()
