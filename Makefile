# The commands of the DICOM Web Viewer Stack; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
ENV ?= .env
S ?= importer
# Who runs a command that the audit remembers.
WHO ?= $(or $(SUDO_USER),$(shell id -un))
# The environment has a USER too, who is not asked about.
PERSON = $(if $(filter command line,$(origin USER)),$(USER))

export PYTHONPATH := $(CURDIR)/podman
export F REASON
STACK := .venv/bin/python -B -m stack --env-file $(ENV)
PYTEST := .venv/bin/python -B -m pytest -c tests/pytest.ini

.PHONY: help setup demo up down status doctor alert-test logs backup backup-key backup-check backup-repair restore drill upgrade rollback outdated clinic account accounts account-remove clinic-open clinic-close clinic-archive user users user-change user-password user-second-factor user-leave sender senders remove-sender rotate explain retry import-archive replace delete readmit retention move export correct merge replay verify access-report audit-check build test pictures guide soak test-power fuzz reading-table bench bench-access bench-reading bench-waiting test-nixos

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:
	@podman/setup.sh

demo: setup ## everything from nothing: the stack, two clinics, four people, two studies
	@$(STACK) demo

up: setup ## bring the stack to what .env says; safe to repeat
	@$(STACK) up

down: ## stop the stack; data stays
	@$(STACK) down

status: ## health, versions, imports, alerts, disk, certificate; fails unless all is well
	@$(STACK) status

doctor: ## what of this host and its surroundings hinders the stack: clock, name, certificate, disk, inboxes, mail, versions
	@$(STACK) doctor

alert-test: ## send one alert by every way that is configured, and say whether each took it
	@$(STACK) alert-test

logs: ## follow a service's log: make logs S=importer
	@$(STACK) logs $(S)

clinic: ## add a clinic: make clinic ID=clinic-c NAME="Clinic C"
	@$(STACK) clinic --id '$(ID)' --name '$(NAME)'

account: ## give a clinic a new password for uploads, or a key: make account CLINIC=clinic-c [KEY_FILE=id_ed25519.pub]
	@$(STACK) account --clinic '$(CLINIC)' --key-file '$(KEY_FILE)'

accounts: ## the clinics that have an account for uploads, and what opens each
	@$(STACK) accounts

account-remove: ## nobody uploads for a clinic any more: make account-remove CLINIC=clinic-c
	@$(STACK) account-remove --clinic '$(CLINIC)'

user: ## add a person: make user NAME=jane CLINIC=clinic-c ROLE=physician
	@$(STACK) user --name '$(NAME)' --clinic '$(CLINIC)' --role '$(ROLE)'

clinic-close: ## a clinic takes nothing in any more, and its people go on reading: make clinic-close ID=clinic-c
clinic-archive: ## only admins read a clinic any more: make clinic-archive ID=clinic-c
clinic-open: ## a clinic that was closed or archived takes studies in again: make clinic-open ID=clinic-c
clinic-close clinic-archive clinic-open:
	@$(STACK) clinic-state --id '$(ID)' --state '$(patsubst clinic-%,%,$@)'

users: ## everybody who has an account, and the clinics
	@$(STACK) users

user-change: ## another role, other clinics: make user-change NAME=jane CLINIC=clinic-c,clinic-d ROLE=technician
	@$(STACK) user-change --name '$(NAME)' --clinic '$(CLINIC)' --role '$(ROLE)'

user-password: ## a new one-time password, which also lifts a lock: make user-password NAME=jane
user-second-factor: ## forget a lost device; an admin sets up another at the next login: make user-second-factor NAME=jane
user-leave: ## close an account for good, what is open in it too: make user-leave NAME=jane
user-password user-second-factor user-leave:
	@$(STACK) $@ --name '$(NAME)'

sender: ## let a device store over DICOM into a clinic: make sender CLINIC=clinic-c AET=CT01 ADDRESS=192.0.2.10
	@$(STACK) sender --clinic '$(CLINIC)' --aet '$(AET)' --address '$(ADDRESS)'

senders: ## who may store over DICOM, into which clinic
	@$(STACK) senders

remove-sender: ## let a device store no more: make remove-sender AET=CT01 [ADDRESS=192.0.2.10]
	@$(STACK) remove-sender --aet '$(AET)' --address '$(ADDRESS)'

rotate: setup ## give a secret a new value: make rotate SECRET=orthanc_db_password; yours, as smtp_password, from F=… or as asked
	@$(STACK) rotate --file "$$F" '$(SECRET)'

# Paths reach the shell by the environment, whatever characters they have.
explain: ## say where a file is and why: make explain F=/srv/dicom-stack/failed/clinic-a/…
	@$(STACK) importer explain "$$F"

retry: ## put failed files back into the inbox: make retry CLINIC=clinic-a [REASON=refused], or F=…
	@$(STACK) importer retry $(if $(F),"$$F",--clinic '$(CLINIC)') --reason '$(REASON)'

import-archive: ## years of old studies, beside daily work; safe to stop and repeat: make import-archive FROM=/mnt/old CLINIC=clinic-a
	@$(STACK) import-archive --source "$(FROM)" --clinic '$(CLINIC)'

replace: ## let a corrected export in failed/ take the place of what is archived: make replace F=…
	@$(STACK) importer replace --by '$(WHO)' "$$F"

# Only what is given to make itself: the environment may have a NAME of its own.
given = $(if $(filter command line,$(origin $(1))),"$(1)=$$$(1)")
PATIENT = $(strip $(foreach key,PATIENT_ID NAME BIRTH_DATE SEX,$(call given,$(key))))
# What is said of a patient goes by a pipe: others on the host see what is in argv.
say-to = $(if $(strip $(1)),printf '%s\n' $(1) |)
ORDER = --by '$(WHO)' --reason "$$REASON"

delete: ## delete a study for good, after saying what goes: make delete STUDY=1.2.… [SERIES=1.2.…] REASON="…" YES=1
	@$(STACK) importer delete --study '$(STUDY)' $(if $(SERIES),--series '$(SERIES)') $(ORDER) $(if $(YES),--yes)

readmit: ## let what was deleted be imported again: make readmit STUDY=1.2.… REASON="…"
	@$(STACK) importer readmit --study '$(STUDY)' $(ORDER)

retention: ## what has had its time by STUDY_RETENTION_…, and what is held back: make retention [CSV=1]; delete it: YES=1 REASON="…"
	@$(STACK) importer retention --by '$(WHO)' $(if $(CSV),--csv) $(if $(YES),--yes --reason "$$REASON")

move: ## let a study belong to another clinic: make move STUDY=1.2.… TO=clinic-b REASON="…"
	@$(STACK) importer move --study '$(STUDY)' --to '$(TO)' $(ORDER)

export: ## a study as a zip file with DICOMDIR: make export STUDY=1.2.… TO=folder/file.zip REASON="…"
	@podman/export.sh "$(TO)" $(STACK) importer export --study '$(STUDY)' $(ORDER)

correct: ## correct a study's patient: make correct STUDY=1.2.… PATIENT_ID=… [NAME=…] [BIRTH_DATE=…] [SEX=…] REASON="…"
	@$(call say-to,$(PATIENT)) $(STACK) importer correct --study '$(STUDY)' $(ORDER)

merge: ## let one patient's studies be another's: make merge CLINIC=clinic-a FROM=… TO=… REASON="…"
	@$(call say-to,$(call given,FROM) $(call given,TO)) $(STACK) importer merge --clinic '$(CLINIC)' $(ORDER)

replay: ## offer originals again to an archive that lost something: make replay SINCE=2026-11-24 [CLINIC=clinic-a]
	@$(STACK) importer replay --since '$(SINCE)' --clinic '$(CLINIC)' --by '$(WHO)'

verify: ## compare journal, originals, archive and its disk: make verify [CLINIC=clinic-a] [REPAIR=1] [AGAIN=1] [MB_PER_S=50] [JSON=1]
	@$(STACK) importer verify --clinic '$(CLINIC)' $(if $(REPAIR),--repair --by '$(WHO)') \
		$(if $(AGAIN),--again) $(if $(MB_PER_S),--mb-per-s '$(MB_PER_S)') $(if $(JSON),--json)

restore: setup ## everything from the backup into an empty DATA_DIR: make restore FROM=/mnt/backup [KEY_FILE=…] [AT=2026-11-24T21:30]
	@$(STACK) restore --source "$(FROM)" --key-file '$(KEY_FILE)' --credentials-file '$(CREDENTIALS_FILE)' --ssh-key-file '$(SSH_KEY_FILE)' --ca-file '$(CA_FILE)' --host-key '$(HOST_KEY)' --at '$(AT)' --by '$(WHO)'

upgrade: setup ## the stack follows these sources to their version, with a way back: make upgrade [FROM=v1.2]
	@$(STACK) upgrade --from '$(FROM)'

rollback: setup ## back to the version before the last upgrade, with its data; what arrived since is imported again
	@$(STACK) rollback --by '$(WHO)'

outdated: setup ## what is newer than what runs; fails when something is below its floor in versions.env
	@$(STACK) outdated

drill: setup ## lose everything and bring it back, on a stack of its own, and measure it: make drill [MEGABYTES=300]
	@podman/setup.sh --tests
	@DRILL_MEGABYTES=$(or $(MEGABYTES),300) $(PYTEST) -s tests/faults/test_drill.py
	@[[ ! -e $(ENV) ]] || $(STACK) backup drilled || echo "Look above: the drill went well, but not all of this appliance's backup is."

access-report: ## who looked at a study: make access-report STUDY=1.2.…; what a person did: USER=jane [FROM=2026-11-01 TO=2026-11-30] [CSV=1]
	@$(STACK) audit report --by '$(WHO)' --study '$(STUDY)' --user '$(PERSON)' --from '$(FROM)' --to '$(TO)' $(if $(CSV),--csv)

audit-check: ## say whether records of the audit were changed or removed
	@$(STACK) audit check

backup: ## back up now, with new dumps of the databases; then say how it stands
	@$(STACK) backup run --dump

backup-key: ## print the key of the backup: keep it apart from this machine, without it nothing comes back
	@$(STACK) backup-key

backup-check: ## prove that the backup is whole, and remove what is too old: make backup-check [EVERYTHING=1]
	@$(STACK) backup check $(if $(EVERYTHING),--everything)

backup-repair: ## take out what a check found damaged, and save everything anew that is still here
	@$(STACK) backup repair

build: setup ## build the images only
	@$(STACK) build

# What needs no stack waits more than it computes: six files at a time. Access and faults run beside the rest, but not
# beside the browser, which drops its connections whenever a container's network comes or goes.
test: ## all tests, or a part: make test T=tests/unit
	@podman/setup.sh --tests
ifeq ($(origin T),command line)
	@$(PYTEST) $(T)
else
	@alone=passed; $(PYTEST) --numprocesses=6 --dist=loadfile tests/config tests/unit || alone=FAILED; \
	rest=passed; tests/lanes.sh $(addprefix --ignore=tests/,config unit e2e security faults) \
		-- --env=tests/second.env tests/security tests/faults || rest=FAILED; \
	browser=passed; $(PYTEST) tests/e2e || browser=FAILED; \
	echo "Tests that need no stack $$alone, the browser's $$browser, the others $$rest."; \
	[[ $$alone$$browser$$rest == passedpassedpassed ]]
endif

pictures: ## let a scripted day of traffic pass on the tests' stack and photograph the dashboards: make pictures [MINUTES=20]
	@podman/setup.sh --tests
	@DAY_S=$$(( $(or $(MINUTES),20) * 60 )) $(PYTEST) tests/e2e/test_dashboards.py

guide: ## photograph what docs/users.md shows anew, on the tests' stack
	@podman/setup.sh --tests
	@$(PYTEST) tests/e2e/test_guide.py
	@cp tests/.artifacts/guide/*.png docs/

soak: ## kill the importer and cut the database's connection under load: make soak KILLS=1000 FILES=10000 CUTS=500
	@podman/setup.sh --tests
	@KILLS=$(or $(KILLS),1000) FILES=$(or $(FILES),10000) CUTS=$(or $(CUTS),500) $(PYTEST) tests/faults/test_cut_at_commit.py tests/faults/test_killed_at_random.py

test-power: ## kill the whole stack under load, and cut its power: make test-power KILLS=10 CUTS=10 FILE_SYSTEMS="ext4 xfs"
	@podman/setup.sh --tests
	@KILLS=$(or $(KILLS),10) CUTS=$(or $(CUTS),10) FILE_SYSTEMS='$(or $(FILE_SYSTEMS),ext4 xfs)' $(PYTEST) tests/faults/test_all_killed.py tests/faults/test_power_cut.py

test-alerts: ## six misfortunes told of by mail and webhook, as long as their alerts wait: an hour and a half
	@podman/setup.sh --tests
	@AS_THEY_ARE=1 $(PYTEST) tests/faults/test_misfortunes.py

fuzz: ## mutate real files at random and read them: make fuzz EXAMPLES=100000
	@podman/setup.sh --tests
	@EXAMPLES=$(or $(EXAMPLES),100000) $(PYTEST) -p no:logging tests/unit/importer/test_fuzz.py

reading-table: ## open the objects of four public packages and write what is shown into docs/reading.md: make reading-table [EACH=2]
	@podman/setup.sh --tests
	@READING_TABLE=$(or $(EACH),1000) $(PYTEST) -s tests/e2e/test_objects.py

bench: setup ## the importer beside other senders: make bench [ROUNDS=5] [SETS="slices tiny"] [PEERS="importer floor"] [SCALE=0.1]
	@PYTHONPATH=$(CURDIR)/podman:$(CURDIR) .venv/bin/python -B -m bench --env-file '$(or $(BENCH_ENV),bench/stack.env)' \
		--rounds '$(or $(ROUNDS),5)' --sets '$(SETS)' --peers '$(PEERS)' --scale '$(or $(SCALE),1)' \
		--largest-mb '$(or $(LARGEST_MB),1399)' $(if $(KEEP),--keep)

bench-access: setup ## what access control costs frames and searches: make bench-access [ROUNDS=5]
	@PYTHONPATH=$(CURDIR)/podman:$(CURDIR) .venv/bin/python -B -m bench.access \
		--env-file '$(or $(BENCH_ENV),bench/stack.env)' --rounds '$(or $(ROUNDS),5)' $(if $(KEEP),--keep)

bench-reading: ## lists and studies in a browser, beside the same viewer on less; capacity: make bench-reading [ROUNDS=5] [PARTS="list series"] [STUDIES=20000] [SCALE=0.02]
	@podman/setup.sh --tests
	@PYTHONPATH=$(CURDIR)/podman:$(CURDIR):$(CURDIR)/tests .venv/bin/python -B -m bench.reading \
		--env-file '$(or $(BENCH_ENV),bench/stack.env)' --rounds '$(or $(ROUNDS),5)' --parts '$(PARTS)' \
		--scale '$(or $(SCALE),1)' $(if $(STUDIES),--studies '$(STUDIES)') $(if $(KEEP),--keep)

bench-waiting: ## what the importer takes with nothing to do and with 100,000 waiting files
	@podman/setup.sh --tests
	@PYTHONPATH=$(CURDIR)/podman:$(CURDIR) .venv/bin/python -B -m bench.waiting

test-nixos: ## the NixOS form, evaluated, built over Debian's files and booted: make test-nixos NIXPKGS=/path/to/nixpkgs [T=tests/nixos/test_flake.py]
	@[[ -d '$(NIXPKGS)/nixos' ]] || { echo "Nothing was run: set NIXPKGS to a tree of nixpkgs (NIXPKGS='$(NIXPKGS)' is none)." >&2; exit 1; }
	@podman/setup.sh --tests --boot
ifeq ($(origin T),command line)
	@$(PYTEST) --durations=15 --nixpkgs '$(NIXPKGS)' $(T)
else
	@tests/lanes.sh --durations=15 --nixpkgs '$(NIXPKGS)' tests/nixos/test_boot.py \
		-- --durations=15 --nixpkgs '$(NIXPKGS)' tests/nixos --ignore=tests/nixos/test_boot.py
endif
