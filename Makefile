# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# The rest is listed by `make help`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA ?= ../shared/eval
STRANGERS ?= 600
SECONDS ?= 1800
SEED ?= 1
SOURCES ?= $(wildcard $(DATA)/../models)

.PHONY: help demo test system roots camera appliance image image-test image-ab home-assistant node-red nats fleet soak soak-strangers tflite evaluate accuracy attacks bench lint docs clean models

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# An environment per set of extras is cheap to keep true: a stamp, newer than setup.cfg and the pinned versions.
$(VENV)/base.stamp: setup.cfg constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Porter needs Python 3.11 or newer: set PYTHON=python3.x" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt install python3-venv" >&2; exit 2; }
	@echo "setting up $(VENV) (once)"
	$(PIP) install --quiet -c constraints.txt -e '.[litert,video,demo]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/base.stamp
	$(PIP) install --quiet -c constraints.txt -e '.[litert,video,demo,evaluate,test]'
	@touch $@

$(VENV)/measure.stamp: $(VENV)/base.stamp
	$(PIP) install --quiet -c constraints.txt -e '.[litert,video,demo,evaluate,bench]'
	@touch $@

demo: $(VENV)/base.stamp ## watch the main job: enrol, leave, come back, be matched; a stranger; a broker restart
	$(BIN)/porter demo

test: $(VENV)/test.stamp ## all tests that need nothing but Python
	$(BIN)/python -m pytest -m "not system" -n 2 --dist loadfile

system: $(VENV)/test.stamp ## both services against a real mosquitto (apt install mosquitto mosquitto-clients faketime rauc dbus)
	@command -v mosquitto >/dev/null || test -x /usr/sbin/mosquitto || { echo "mosquitto is missing: apt install mosquitto" >&2; exit 2; }
	$(BIN)/python -m pytest -m system tests/system -n 2 --dist loadgroup

nats: $(VENV)/test.stamp ## the contract over NATS and its MQTT gateway (apt install nats-server)
	@command -v nats-server >/dev/null || test -x /usr/sbin/nats-server || { echo "nats-server is missing: apt install nats-server" >&2; exit 2; }
	$(BIN)/python -m pytest -m system tests/nats

DEVICES ?= 1000
fleet: $(VENV)/base.stamp ## 1,000 simulated devices, a broker restart in the middle (DEVICES=1000; apt install mosquitto)
	$(BIN)/porter fleet --mosquitto --restart --devices $(DEVICES) --seconds 60

soak: $(VENV)/test.stamp ## a random walk over faults of network, broker and processes (SECONDS=1800 SEED=1)
	$(BIN)/python -m pytest -m system tests/soak --walk-seconds $(SECONDS) --seed $(SEED)

soak-strangers: $(VENV)/test.stamp ## a long crowd of strangers (STRANGERS=600), and a search for anything they left
	$(BIN)/python -m pytest -m system tests/system/test_strangers_soak.py -s --strangers $(STRANGERS) $(if $(wildcard $(DATA)),--eval $(DATA))

# The other runtime, for devices whose libedgetpu wants it: Python 3.11 and numpy 1, so in an environment of its own.
.venv-tflite/stamp: constraints-tflite.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "tflite-runtime has wheels for Python 3.11 at most: set PYTHON=python3.11" >&2; exit 2; }
	@test -x .venv-tflite/bin/python || $(PYTHON) -m venv .venv-tflite
	.venv-tflite/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-tflite.txt
	@touch $@

tflite: $(VENV)/test.stamp .venv-tflite/stamp ## the inference tests under tflite-runtime 2.14 as well (Python 3.11)
	$(BIN)/python -m pytest tests/unit/test_delegate.py --tflite-python .venv-tflite/bin/python

appliance: $(VENV)/base.stamp ## the shipped units under a real systemd (root; apt install mmdebstrap systemd-container)
	@$(BIN)/python -m tests.appliance

roots: $(VENV)/base.stamp ## the Debian roots of `make appliance` and `make camera`, which else make them at their start
	@$(BIN)/python -m tests.appliance --root-only
	@$(BIN)/python -m tests.camera --root-only

image: ## an image of an SD card, as ./flash.sh build makes it (root; a quarter of an hour and more the first time)
	./flash.sh build

image-test: $(VENV)/base.stamp ## boot an image for 64-bit ARM in QEMU and use it (root; apt install qemu-system-arm device-tree-compiler mosquitto and what flash.sh build wants)
	@$(BIN)/python -m tests.image $(if $(IMAGE),--image $(IMAGE))

image-ab: $(VENV)/base.stamp ## updates of an image in QEMU: kept, gone back, power cuts (as image-test, and apt install rauc)
	@$(BIN)/python -m tests.image.ab $(if $(IMAGE),--image $(IMAGE)) $(if $(KEYS),--keys $(KEYS))

# Home Assistant pins its world: an environment of its own, for Python 3.13.
PYTHON313 ?= python3.13
.venv-homeassistant/stamp: constraints-homeassistant.txt
	@command -v $(PYTHON313) >/dev/null || { echo "Home Assistant needs Python 3.13: set PYTHON313=/path/to/python3.13" >&2; exit 2; }
	@test -x .venv-homeassistant/bin/python || $(PYTHON313) -m venv .venv-homeassistant
	@echo "setting up .venv-homeassistant (once, some minutes)"
	.venv-homeassistant/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-homeassistant.txt
	@touch $@

camera: $(VENV)/base.stamp ## the CSI camera's code against the real picamera2 and libcamera (root; apt install mmdebstrap gcc)
	@$(BIN)/python -m tests.camera

home-assistant: $(VENV)/test.stamp .venv-homeassistant/stamp ## a real Home Assistant core finds the device (Python 3.13, mosquitto)
	$(BIN)/python -m pytest -m system tests/homeassistant --homeassistant-python .venv-homeassistant/bin/python

# Node-RED 4 is the last that runs on the Node.js of Debian 13.
.node-red/stamp: Makefile
	@command -v npm >/dev/null || { echo "npm is missing: apt install npm" >&2; exit 2; }
	@echo "setting up .node-red (once, a minute)"
	@mkdir -p .node-red
	npm install --prefix .node-red --silent --no-audit --no-fund node-red@4.1.15
	@touch $@

node-red: $(VENV)/test.stamp .node-red/stamp ## the shipped flow in a real Node-RED (npm, mosquitto)
	$(BIN)/python -m pytest -m system tests/nodered --node-red $(CURDIR)/.node-red/node_modules/.bin/node-red

evaluate: $(VENV)/measure.stamp ## accuracy on DATA=folder: table, out/evaluate.json, plots
	$(BIN)/porter evaluate --data $(DATA) $(if $(SOURCES),--sources $(SOURCES)) --out out

accuracy: $(VENV)/measure.stamp ## evaluate, bad conditions too, and write docs/accuracy.md from it
	$(BIN)/porter evaluate --data $(DATA) $(if $(SOURCES),--sources $(SOURCES)) --degraded cpu --out out
	$(BIN)/python -m device.measure.accuracy_page out/evaluate.json docs/accuracy.md

attacks: $(VENV)/measure.stamp ## photos and screens before the camera (clips in DATA too), and write docs/liveness.md from it
	$(BIN)/porter evaluate --data $(DATA) --attacks --out out
	$(BIN)/python -m device.measure.liveness_page out/attacks.json docs/liveness.md

bench: $(VENV)/measure.stamp ## speed and memory, beside OpenCV, and delivery (apt install mosquitto): tables, out/bench.json, out/delivery.json
	$(BIN)/porter bench $(if $(SOURCES),--sources $(SOURCES)) --out out
	$(BIN)/porter bench-delivery --out out

lint: $(VENV)/test.stamp ## the linters alone
	$(BIN)/python -m pytest tests/test_lint.py

docs: $(VENV)/base.stamp ## write the generated files again: config/, docs/config.md, the pictures and tables of docs/install.md
	$(BIN)/python -m device.generate
	$(BIN)/python -m docs.install.draw

models: ## build the .tflite files again from their ONNX sources (an environment of its own)
	models/build/build.sh $(if $(SOURCES),--sources $(SOURCES))

clean: ## remove the environment and everything made
	rm -rf $(VENV) .venv-tflite .venv-homeassistant .node-red out build *.egg-info models/build/.venv models/build/out
