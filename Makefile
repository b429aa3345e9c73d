# `make` lists the commands. All of them work in .venv, made on first use with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# What a page stores has no progress bars.
export TQDM_DISABLE := 1

.PHONY: help book pdf test test-gpu processors search bench refresh clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

book: .venv/installed  ## run every notebook afresh and build the pages that show this run
# Beside the original, because paths in it are relative to its place.
	@sed 's/execute_notebooks: "off"/execute_notebooks: "force"/' _config.yml > _execute.yml
# Every page anew (--all), because a kept one does not notice that llrnb has changed.
	$(BIN)/jupyter-book build . --all --config _execute.yml

pdf: .venv/installed  ## the book as one PDF; needs TeX (Debian: latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-texgyre fonts-texgyre-math fonts-dejavu-core)
	rm -f _build/latex/llrnb.pdf
	LATEXMKOPTS="-interaction=nonstopmode -halt-on-error -quiet" \
	    $(BIN)/jupyter-book build . --builder pdflatex
# Jupyter Book ends well without TeX, too; and a letter that no font has would be a gap in the text.
	@test -f _build/latex/llrnb.pdf
	@! grep "Missing character" _build/latex/llrnb.log
	@echo "The book is _build/latex/llrnb.pdf"

test: .venv/installed  ## lint, types, unit tests, notebooks against their stored outputs, strict build, browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
# Two processes with one thread each: two with two threads each wait for each other. The one that is done first takes
# over tests of the other's, which a notebook's cells would not bear.
	OMP_NUM_THREADS=1 $(BIN)/pytest --ignore tests/test_browser.py --ignore tests/test_pages.py -n 2 --dist worksteal
	OMP_NUM_THREADS=1 $(BIN)/pytest --doctest-modules llrnb -n 2 --dist worksteal
# Strict: a notebook must print the stored text and tables, number by number (tools/compare.py), and a warning on
# stderr is a difference. Pictures are not compared (nbval skips image/png), for their bytes differ between machines.
	OMP_NUM_THREADS=1 $(BIN)/pytest book --nbval --nbval-current-env -n 2 --dist loadscope
	rm -rf _build/strict
	$(BIN)/jupyter-book build . -W -n --keep-going --path-output _build/strict
	$(BIN)/jupyter-book build . --builder latex -W -n --keep-going --path-output _build/strict
	LLRNB_PAGES=_build/strict/_build/html $(BIN)/pytest tests/test_browser.py tests/test_pages.py -n 2

test-gpu:  ## the tests that need a GPU, with the Python that PYTHON names: it needs pytest and a torch with CUDA
	$(PYTHON) -m pytest tests/test_training_cuda.py

processors: .venv/installed  ## run tests and notebooks as on six kinds of processors; ONLY="book/relu/line.ipynb ..."
	$(BIN)/python -m tools.processors $(ONLY)

search: .venv/installed  ## draw fresh instances and look for false verdicts, for some minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.search

bench: .venv/installed-bench  ## time the training engine against its peers
	$(BIN)/python -m benchmarks

refresh: .venv/installed  ## run the notebooks and store their outputs
	$(BIN)/python tools/notebooks.py refresh

clean:  ## remove what was built (remove .venv by hand to install anew)
	rm -rf _execute.yml _build build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find book llrnb tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5) and "Python 3.11.5 or newer is needed, but " \
	    "$(PYTHON) is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[book,sweep,test]'
	@touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	@touch $@
