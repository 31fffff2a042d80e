"""A page in the browser on which a transferred model is tried by hand; nothing of it leaves this machine."""

from __future__ import annotations

import os
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError, TransferKitError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.predicting.by_hand import Question, Shown, asked_by_hand, output_kind, questions
from hf_transfer_kit.predicting.meaning import Meaning
from hf_transfer_kit.predicting.transferred import TransferredModel, load_transferred

_TITLES = {"image": "Picture", "audio": "Sound", "text": "Text"}
_FONTS = ("system-ui", "sans-serif")
"""Of the machine: gradio's own are fetched from elsewhere."""


def check_demo_installed() -> None:
    """Refuses to begin without gradio.

    Raises:
        SettingsError: With the command that installs it.
    """
    if find_spec("gradio") is None:
        raise SettingsError('The page needs gradio, which is not installed: pip install "hf_transfer_kit[demo]".')


@checked_arguments()
def demo_page(folder_or_model: str | Path | TransferredModel, *, top: int = 5) -> Any:
    """A gradio page of a model: a row of each kind that it reads goes in, an answer of each task comes out.

    Args:
        folder_or_model: A run's folder, a Hub name, or what ``load_transferred`` gave, such as a zero-shot network with
            further classes.
        top: Classes that are told.

    Returns:
        ``gradio.Blocks``; ``open_page`` shows it on this machine.

    Raises:
        SettingsError: When gradio (the extra ``demo``) is not installed, or ``top`` is out of range.
        ModelError: As ``load_transferred``.

    Example:
        >>> import gradio
        >>> page = demo_page(finished, top=3)
        >>> page.title
        'finished'
    """
    check_demo_installed()
    check_int("demo_page", "top", top, low=1)
    model = folder_or_model if isinstance(folder_or_model, TransferredModel) else load_transferred(folder_or_model)
    gr = _gradio()
    with gr.Blocks(title=model.name, analytics_enabled=False) as page:
        gr.HTML(f"<h1>{escape(model.name)}</h1>")
        asked = questions(model)
        for question in asked:
            if len(asked) == 1:
                _place(gr, model, question, top)
                continue
            with gr.Tab(_TITLES[question.kind]):
                _place(gr, model, question, top)
    return page


def open_page(page: Any, *, port: int | None = None) -> str:
    """Serves a page on this machine alone, in threads of its own.

    Args:
        page: Of ``demo_page``.
        port: None: the first that is free from 7860 on.

    Returns:
        Its address.

    Raises:
        SettingsError: When the port is taken.

    Example:
        >>> import gradio
        >>> page = demo_page(finished)
        >>> open_page(page)
        'http://127.0.0.1:.../'
        >>> page.close(verbose=False)
    """
    gr = _gradio()
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            mcp_server=False,
            footer_links=[],
            theme=gr.themes.Default(font=_FONTS, font_mono=("monospace",)),
        )
    except OSError as error:
        raise SettingsError(f"The port {port} is taken, or may not be opened here. Give another (--port).") from error
    return str(address)


def _gradio() -> Any:
    """The library; it asks the network for news of itself unless it is told not to."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    return gradio


def _place(gr: Any, model: TransferredModel, question: Question, top: int) -> None:
    """Inputs on the left, an output a task on the right."""
    with gr.Row():
        with gr.Column():
            given = [_input(gr, question.kind)]
            if question.pairs:
                given.append(gr.Textbox(label="Second text", lines=3))
            button = gr.Button("Predict", variant="primary")
        with gr.Column():
            shown = [_output(gr, meaning, top) for meaning in question.meanings]

    def answers(*values: str | None) -> Shown | tuple[Shown, ...]:
        try:
            found = asked_by_hand(model, question, *values, top=top)
        except TransferKitError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        return found[0] if len(found) == 1 else found

    button.click(answers, given, shown, api_name=f"predict_{question.kind}")


def _input(gr: Any, kind: str) -> Any:
    if kind == "image":  # as a file, without a change of its mode: read as a run reads it
        return gr.Image(type="filepath", image_mode=None, height=320, label=_TITLES[kind])
    if kind == "audio":
        return gr.Audio(type="filepath", label=_TITLES[kind])
    return gr.Textbox(label=_TITLES[kind], lines=3)


def _output(gr: Any, meaning: Meaning, top: int) -> Any:
    label = meaning.task or {"classes": "Class", "scores": "Class", "words": "Answer"}[output_kind(meaning)]
    if output_kind(meaning) == "classes":
        return gr.Label(label=label, num_top_classes=top, show_heading=meaning.type == "classification")
    if output_kind(meaning) == "scores":
        return gr.Dataframe(label=label, headers=["class", "score"], interactive=False)
    return gr.Textbox(label=label, interactive=False)
