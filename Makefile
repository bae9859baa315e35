# `make demo`: the main job on real input. `make test`: everything a change has to pass. `make bench`: how fast it is.

CARGO ?= cargo
# What runs a second time with cohorts of the lock class file, where the default is the class memory.
ENGINE := --test compact --test damage --test model --test owned_files --test processes --test recover --test view
# cargo nextest runs every test in a process of its own and in parallel; where it is not installed, cargo test does.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
# Optimized, for it reads all that it has written again and again.
RUN_STORM := $(CARGO) run --release --quiet --package tallyfold-storm --

# How far `make crash` goes: see docs/reliability.md.
CRASH ?= TALLYFOLD_CRASH_ALL=1024 TALLYFOLD_CRASH_SAMPLES=60 TALLYFOLD_CRASH_AGAIN=10 TALLYFOLD_FAULT_STRIDE=1 TALLYFOLD_KILL_STRIDE=1

.PHONY: demo test format lint check-mutants check-tests doctest portable loom crash storm-short storm disks mutants deny bench

demo:
	$(CARGO) build --release --quiet
	./target/release/tallyfold --store tallyfold-demo demo

test: format lint check-mutants check-tests doctest portable loom storm-short

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features --lib -- -D warnings
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
		--lib --test compact --test damage --test format --test model --test processes --test recover

# What processes share in memory, with the steps of a few threads in every order. Optimized: there are millions of orders.
loom:
	$(CARGO) run --release --quiet --package tallyfold-loom

# Processes killed at random, disks cut off and full (as root, else skipped): less than a minute. First the checks are
# shown to find what they are for. STORM=--seed=N plans the same kills again.
storm-short:
	$(RUN_STORM) self-test $(STORM)
	$(RUN_STORM) kills --kills 320 $(STORM)
	$(RUN_STORM) cuts --cuts 4 $(STORM)
	$(RUN_STORM) full --cycles 4 $(STORM)

# Ten thousand kills.
storm:
	$(RUN_STORM) kills --kills 10000 $(STORM)

# The real file systems for longer; as root.
disks:
	$(RUN_STORM) cuts --cuts 200 $(STORM)
	$(RUN_STORM) syncs --rounds 20 $(STORM)
	$(RUN_STORM) full --cycles 80 $(STORM)

# Every state that a crash may leave, a fault at every operation, a process killed before each: `make test` does a part of it,
# this does much more, and prints what it did.
crash:
	$(CRASH) $(CARGO) test --quiet --lib trust -- --nocapture

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
