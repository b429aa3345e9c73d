"""Buttons that open a page in Binder or Colab, if _config.yml has a repository."""


def configure(app, config) -> None:
    options = config.html_theme_options
    if not options.get("repository_url"):
        return
    options["use_repository_button"] = True
    options["launch_buttons"] = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }


def setup(app) -> dict:
    app.connect("config-inited", configure)
    return {"version": "1", "parallel_read_safe": True}
