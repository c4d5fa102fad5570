"""Pages show any text as it is."""

import templates
from deploy.demo import Picture, Row


def test_the_demos_grid_names_the_lora_and_the_difference_of_each_picture() -> None:
    page = templates.render(
        "demo/report.html.j2",
        hosts=[],
        trained_on="h1",
        drawn_on="h2",
        titles=["Without the LoRA", "<lora:ink:1>"],
        rows=[Row("a cat & its shadow", [Picture("AAAA", 0.0), Picture("BBBB", 12.345)])],
        curve="",
        smooth_curve="",
        steps=1,
        first_loss=1.0,
        last_loss=1.0,
        timings=[],
    )
    assert "<code>&lt;lora:ink:1&gt;</code>" in page
    assert 'alt="a cat &amp; its shadow, &lt;lora:ink:1&gt;" src="data:image/png;base64,BBBB"' in page
    assert "first picture" in page and "12.35" in page
