"""A finished run whose network was built and not trained, from which a training can start."""

from wbcstudy.config import StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.records import split_hash
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record
from wbcstudy.study.record import describe_dataset


def write_network(path, dataset, config):
    """Write an untrained network as a finished run."""
    study, data = StudyFolder(path), load_dataset(dataset)
    config = config.model_copy(update={"study": path.name, "dataset": str(dataset)})
    splits = load_or_make_splits(study.split, data, config)
    folder = study.run(config.name)
    folder.path.mkdir(parents=True)
    write_yaml(StudyConfig(name=path.name, dataset=str(dataset), encoders=("unet",), losses=("dice",)), study.settings)
    write_yaml(config, folder.params)
    build_unet(config).save(folder.model)
    counts = {"tp": 9, "fp": 1, "fn": 1, "tn": 9, "dice": 0.9}
    facts = {"status": "complete", "study": path.name, "config": config.model_dump(mode="json")}
    facts |= {"dataset": describe_dataset(data), "split_hash": split_hash(splits)}
    facts |= {"split": {"train": len(splits[0].train), "validation": len(splits[0].validation), "test": 1}}
    facts |= {"validation": dict.fromkeys(("nucleus", "cytoplasm", "cell"), counts)}
    write_record(folder, facts)
    return folder.path
