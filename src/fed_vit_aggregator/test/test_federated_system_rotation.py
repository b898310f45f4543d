"""New signing keys by the root's word, while vehicles stay in the field."""

import shutil

from click.testing import CliRunner

from fed_vit_aggregator.rotation import rotate


def test_vehicles_follow_new_keys_and_the_aggregator_needs_no_root_key(make_fleet, tmp_path):
    fleet = make_fleet(rounds=1)
    safe = tmp_path / "root.pem"
    fleet.cloud.enrol("v1")
    shutil.move(fleet.cloud.keys.role_path("root"), safe)
    old = fleet.cloud.keys.role_path("targets").read_bytes()
    fleet.cloud.start()
    client = fleet.start_client("v1")
    fleet.wait(lambda: client.releases.version == 1)

    fleet.cloud.stop_aggregator()
    config = str(fleet.cloud.folder / "aggregator.yaml")
    done = CliRunner().invoke(rotate, [config, "targets", "timestamp", "--root", str(safe)], catch_exceptions=False)
    assert done.exit_code == 0
    assert fleet.cloud.keys.role_path("targets").read_bytes() != old
    fleet.cloud.start_aggregator()
    fleet.start_client("v2")
    fleet.finished()
    fleet.wait(lambda: all(client.releases.version == 2 for client in fleet.clients.values()))
    assert not client.releases.refusals
    assert not fleet.cloud.keys.role_path("root").exists()
