"""The model index through the command line, of a checkout with a few configs."""

import shutil
import subprocess
from pathlib import Path

import mmengine

COLLECTIONS = {
    'menet228_in1k': 'MENet',
    'mobilenet025_in1k': 'MobileNet V1',
    'r50_meplugin_in1k': 'MENet',
    'shufflenet050_in1k': 'ShuffleNet V1',
}


def test_networks_are_in_their_papers_collections(tool, tmp_path):
    for folder in ('tools', 'configs', 'menet_mm/.mim'):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy('tools/make_model_index.py', tmp_path / 'tools')
    shutil.copytree('configs/_base_', tmp_path / 'configs/_base_')
    for name in COLLECTIONS:
        shutil.copy(f'configs/{name}.py', tmp_path / 'configs')
    command = tmp_path / 'tools/make_model_index.py'
    said = tool(command, ok=False).stdout
    assert said.strip().splitlines()[-1].startswith(f'error: {tmp_path} is not a git checkout')
    assert 'usage: ' in tool(command, '--help').stdout
    assert not list(tmp_path.rglob('*.yml'))

    for arguments in (['init', '-q'], ['add', '.']):
        subprocess.run(['git', '-C', tmp_path, *arguments], check=True)
    shutil.copy('configs/menet108_in1k.py', tmp_path / 'configs/private.py')
    tool(command)

    for index, folder in (('model-index.yml', 'configs'), ('menet_mm/.mim/model-index.yml', 'configs/menet')):
        assert Path(index).read_text() == (tmp_path / index).read_text()
        (metafile,) = mmengine.load(tmp_path / index)['Import']
        made, committed = (mmengine.load((root / index).parent / metafile) for root in (tmp_path, Path()))
        assert made['Collections'] == committed['Collections']
        assert {model['Name']: model['In Collection'] for model in made['Models']} == COLLECTIONS
        assert [model['Config'] for model in made['Models']] == [f'{folder}/{name}.py' for name in COLLECTIONS]
        assert all(model in committed['Models'] for model in made['Models'])
