"""Flower's SecAgg+ of one client: what its mod computes between training and upload. Runs in the peers' venv."""

import importlib
import json
import os
import sys

import numpy as np
from data import seconds, update_of
from flwr.app import ConfigRecord
from flwr.common import ndarrays_to_parameters

mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")  # a function has the same name


def main(neighbours: int) -> None:
    keys = {node: mod.generate_key_pairs() for node in range(neighbours + 1)}
    own_private = keys[0][0]
    state = mod.SecAggPlusState()
    state.nid, state.threshold = 0, neighbours // 2 + 1
    state.clipping_range, state.target_range, state.mod_range, state.max_weight = 8.0, 1 << 22, 1 << 32, 1000.0
    state.sk1, state.rd_seed = mod.private_key_to_bytes(own_private), os.urandom(32)
    state.public_keys_dict, state.ss2_dict = {}, {}
    state.rd_seed_share_dict, state.sk1_share_dict = {}, {}
    sealed = []
    for node in range(1, neighbours + 1):
        public = mod.public_key_to_bytes(keys[node][1])
        state.public_keys_dict[node] = (public, public)
        state.ss2_dict[node] = mod.generate_shared_key(own_private, keys[node][1])
        sealed.append(mod.encrypt(state.ss2_dict[node], mod.share_keys_plaintext_concat(node, 0, b"b" * 40, b"s" * 40)))
    configs = ConfigRecord({mod.Key.CIPHERTEXT_LIST: sealed, mod.Key.SOURCE_LIST: list(range(1, neighbours + 1))})
    parameters = ndarrays_to_parameters(list(update_of(0).values()))
    upload: list[int] = []

    def client() -> None:
        masked = mod._collect_masked_vectors(state, configs, 100, parameters)[mod.Key.MASKED_PARAMETERS]
        upload.append(sum(len(part) for part in masked))

    figure = seconds(client, 3)
    arrays = list(update_of(0).values())
    quantise = seconds(lambda: mod.quantize(arrays, 8.0, 1 << 22), 3)
    shapes = [np.shape(array) for array in arrays]
    mask = seconds(lambda: mod.pseudo_rand_gen(state.rd_seed, 1 << 32, shapes), 3)
    print(json.dumps({"client_s": figure, "upload_bytes": upload[-1], "quantise_s": quantise, "one_mask_s": mask}))


main(int(sys.argv[1]))
