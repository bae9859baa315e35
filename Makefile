# `make demo`: the main job on real input. `make test`: everything a change has to pass. `make bench`: how fast it is.

CARGO ?= cargo
# What runs a second time with cohorts of the lock class file, where the default is the class memory.
ENGINE := --test compact --test damage --test model --test owned_files --test processes --test recover --test view
# cargo nextest runs every test in a process of its own and in parallel; where it is not installed, cargo test does.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
# Optimized: the one reads all that it has written again and again, the other goes through a million states.
RUN_STORM := $(CARGO) run --release --quiet --package tallyfold-storm --
RUN_PROTOCOL := $(CARGO) run --release --quiet --package tallyfold-protocol --

# The Python package is built into an environment of its own.
PYTHON ?= python3
VENV := target/venv

# How far `make crash` goes: see docs/reliability.md.
CRASH ?= TALLYFOLD_CRASH_ALL=1024 TALLYFOLD_CRASH_SAMPLES=60 TALLYFOLD_CRASH_AGAIN=10 TALLYFOLD_FAULT_STRIDE=1 TALLYFOLD_KILL_STRIDE=1

# How long `make fuzz` looks for hostile bytes for each target, and which.
FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?= segment snapshot names documents operations

.PHONY: demo test format lint check-mutants check-tests doctest portable python bench-python loom protocol protocol-long crash fuzz storm-short storm disks mutants deny bench

# Without the formats for tables, which take longer to build than all the rest and are not shown.
demo:
	$(CARGO) build --release --quiet --no-default-features --features cli
	./target/release/tallyfold --store tallyfold-demo demo

test: format lint check-mutants check-tests doctest portable python loom protocol storm-short

format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features --lib -- -D warnings
	$(CARGO) clippy --package tallyfold-python -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

# Whether each bug that `make mutants` plants can still be planted where it was: seconds.
check-mutants:
	@if command -v python3 >/dev/null; then python3 tests/mutants/run.py --check; else echo 'skipped: there is no python3'; fi

check-tests:
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --no-fail-fast
	TALLYFOLD_TEST_LOCK=file $(CARGO) nextest run --no-fail-fast $(ENGINE)
else
	$(CARGO) test --lib --bins --tests --no-fail-fast
	TALLYFOLD_TEST_LOCK=file $(CARGO) test --no-fail-fast $(ENGINE)
endif

doctest:
	$(CARGO) test --doc

# The variants for systems without openat, on this one: the same tests but for those about links and special files.
portable:
	RUSTFLAGS="--cfg tallyfold_portable" $(CARGO) test --target-dir target/portable --no-default-features \
		--lib --test compact --test damage --test files --test files_processes --test format --test model --test processes --test recover

# The Python package: installed as a user would, and its tests, with those of what the command exports and imports. Those of numpy, pandas,
# polars, Arrow, DuckDB and Optuna are against what is installed here.
python: $(VENV)/ready
	$(CARGO) build --quiet
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps ./python
	$(VENV)/bin/python -m pytest python/tests

# Debian keeps venv in a package of its own.
$(VENV)/ready:
	$(PYTHON) -m venv $(VENV) || { apt-get install --yes python3-venv && $(PYTHON) -m venv $(VENV); }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check pytest numpy pandas "optuna==5.0.0" filelock polars pyarrow duckdb transformers
	touch $@

# The package beside sqlite3, filelock and Optuna's own journal, as Markdown: a minute.
bench-python: $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps ./python
	$(VENV)/bin/python python/benches/peers.py

# What processes share in memory, with the steps of a few threads in every order. Optimized: there are millions of orders.
loom:
	$(CARGO) run --release --quiet --package tallyfold-loom

# A model of the protocol, in every state that it can reach. First it is shown to notice what is done wrong. Less than a minute.
protocol:
	$(RUN_PROTOCOL) self-test
	$(RUN_PROTOCOL) short

# More processes and more that goes wrong, for up to two minutes each: half an hour.
protocol-long:
	$(RUN_PROTOCOL) long --seconds 120

# Processes killed at random, disks cut off, full, and failing to sync (as root, else skipped): less than a minute. First the checks are
# shown to find what they are for. STORM=--seed=N plans the same kills again.
storm-short:
	$(RUN_STORM) self-test $(STORM)
	$(RUN_STORM) kills --kills 320 $(STORM)
	$(RUN_STORM) cuts --cuts 4 $(STORM)
	$(RUN_STORM) syncs --rounds 2 $(STORM)
	$(RUN_STORM) full --cycles 4 $(STORM)

# Ten thousand kills, and as root the real file systems too: a quarter of an hour, and one table at the end.
storm:
	$(RUN_STORM) long $(STORM)

# The real file systems for longer; as root.
disks:
	$(RUN_STORM) cuts --cuts 200 $(STORM)
	$(RUN_STORM) syncs --rounds 20 $(STORM)
	$(RUN_STORM) full --cycles 80 $(STORM)

# Every state that a crash may leave, a fault at every operation, a process killed before each: `make test` does a part of it,
# this does much more, and prints what it did.
crash:
	$(CRASH) $(CARGO) test --quiet --lib trust -- --nocapture

# Hostile bytes sought by coverage, FUZZ_SECONDS for each target; needs a nightly toolchain and cargo-fuzz (`cargo install
# cargo-fuzz --locked`). What it begins with and what it has found is in fuzz/corpus/, which `make test` replays; what it finds
# beside that stays in fuzz/target/, what went wrong in fuzz/artifacts/.
fuzz:
	mkdir -p $(addprefix fuzz/target/corpus/,$(FUZZ_TARGETS))
	for target in $(FUZZ_TARGETS); do \
		$(CARGO) +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1 || exit 1; \
	done

# Whether the tests would find anything: plants bugs in a copy, says which test caught each, and puts that into
# docs/reliability.md. Needs cargo nextest and Python 3. MUTANTS="--only seq" tries those whose names contain the word.
mutants:
	python3 tests/mutants/run.py --write $(MUTANTS)

# Licences, sources and duplicate versions of what we depend on; needs cargo-deny (`cargo install cargo-deny --locked`).
deny:
	$(CARGO) deny check bans licenses sources

# tallyfold beside SQLite, LMDB and others, as Markdown: ten minutes. BENCH="--only durable" is one table, BENCH=--help the rest.
bench:
	$(CARGO) run --release --quiet --package tallyfold-peers -- $(BENCH)
