"""Merged tokens are weighted means of their patches, and every patch gets its token back."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.models.token_merging import Merged

torch.set_num_threads(1)


def test_the_likest_pair_is_merged_and_un_merged():
    tokens = torch.tensor([[[1.0, 0], [0, 1], [0.1, 1], [1, -1]]])  # the third is like the second
    merged = Merged.none(tokens).merge(1)
    assert merged.owner.tolist() == [[0, 1, 1, 2]]
    assert merged.size.tolist() == [[1, 2, 1]]
    torch.testing.assert_close(merged.tokens[0], torch.tensor([[1.0, 0], [0.05, 1], [1, -1]]))
    torch.testing.assert_close(merged.unmerged()[0, 1], merged.unmerged()[0, 2])


@pytest.mark.parametrize("count", [12, 13])
def test_tokens_stay_the_means_of_their_patches_over_several_merges(count):
    torch.manual_seed(0)
    tokens = torch.randn(3, count, 5)
    merged = Merged.none(tokens).merge(4).merge(3)
    assert merged.tokens.shape[1] == count - 7
    for batch in range(3):
        for token in range(count - 7):
            owned = merged.owner[batch] == token
            assert owned.sum() == merged.size[batch, token]
            torch.testing.assert_close(merged.tokens[batch, token], tokens[batch, owned].mean(0))


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_a_model_that_merges_equal_tokens_gives_what_it_gave(stem):
    """Where all patches are alike nothing is lost by merging them: attention counts each as often as before."""
    torch.manual_seed(0)
    options = {"patch_size": 16, "num_classes": 0, "embed_dim": 48, "depth": 3, "num_heads": 3, "stem": stem}
    model = ViTPerception((64, 96), **options).eval()
    merging = ViTPerception((64, 96), **options, merged_tokens=8).eval()
    merging.load_state_dict(model.state_dict())
    with torch.no_grad():
        model.backbone.vit.pos_embed[:] = merging.backbone.vit.pos_embed[:] = 0.1
        seen = torch.zeros(1, 64, 8, 12) if stem == "conv" else torch.zeros(1, 3, 64, 96)
        plain = model.backbone.vit.forward_features(seen)[:, model.backbone.vit.num_prefix_tokens :]
        torch.testing.assert_close(merging.backbone._merging(seen), plain, atol=1e-5, rtol=1e-5)


def test_a_merging_model_exports_exactly():
    torch.manual_seed(0)
    model = ViTPerception((64, 96), 16, 0, 48, 3, 3, stem="conv", merged_tokens=6).eval()
    image = torch.rand(1, 3, 64, 96)
    graph = export_graph(model, model.example, model.outputs, "perception.safetensors")
    got = runtime.create(graph, weights_of(model)).run({"image": image.numpy()})
    with torch.no_grad():
        for name, expected in zip(model.outputs, model(image), strict=True):
            np.testing.assert_allclose(got[name], expected.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)
