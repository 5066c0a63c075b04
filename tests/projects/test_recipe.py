import pytest

from menet_mm.projects.recipe import fit_recipe


@pytest.mark.parametrize('task', ['detector', 'classifier'])
@pytest.mark.parametrize('gpu', [False, True])
def test_a_recipe_fits_any_number_of_pictures(task, gpu):
    seen = []
    for pictures in (2, 3, 10, 30, 120, 700, 5000, 100_000):
        recipe = fit_recipe(pictures, task, gpu)
        iterations = recipe.epochs * (pictures // recipe.batch)
        assert 2 <= recipe.batch <= pictures  # batch norm needs two
        assert recipe.val_interval <= recipe.epochs
        assert recipe.warm_up == 1 or recipe.warm_up <= iterations / 10
        assert 0 < recipe.average < 1
        assert (1 - recipe.average) ** iterations < 0.01 or iterations < 20  # nothing is left of the first weights
        seen.append(recipe.epochs)
    assert seen == sorted(seen, reverse=True)
