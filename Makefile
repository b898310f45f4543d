# Every target sets up what it needs first; all are safe to repeat.
.PHONY: demo test bench lint coverage mutation setup
setup:
	@scripts/setup.sh
demo: setup
	@./fedvit demo $(ARGS)
test: setup
	@scripts/test.sh $(ARGS)
bench: setup
	@./fedvit bench all $(ARGS)
lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
# The safety code's: every line and branch (kernels as plain Python, half an hour), and how many small faults its tests
# notice (hours; goes on where it stopped; `make mutation ARGS="rss rules"` for some of its modules).
coverage: setup
	@NUMBA_DISABLE_JIT=1 scripts/test.sh src/fed_vit_autorl/test/test_safety_*.py --cov
mutation: setup
	@scripts/mutation.sh $(ARGS)
