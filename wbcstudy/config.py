"""Settings of a study and of its runs: frozen, typed and flat; unknown keys are refused.

`params/<study>.yaml` is a `StudyConfig`, one field per line. Each (encoder, loss, start, fold, seed) becomes a
`RunConfig`, whose fields are the parameters of `notebooks/2_train.ipynb`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS, LOSSES, pick

# Every encoder halves the image five times: 2 ** 5.
SIZE_STEP_PX = 32
# Start of the plain U-Net in a study of which no start is from random weights.
RANDOM_START = "random"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Part of a run's name, between "__" and "__fold0__seed0".
_START = re.compile(r"(?!(?:fold|seed)\d)[a-z0-9]+(?:-[a-z0-9]+)*")


class UnknownName(ValueError):
    """Carry the registry's error through pydantic."""

    def __init__(self, error: StudyError) -> None:
        super().__init__(error.message)
        self.error = error


def _check_known(names: tuple[str, ...], table: Mapping, noun: str) -> None:
    try:
        for name in names:
            pick(table, name, noun)
    except StudyError as error:
        raise UnknownName(error) from None


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value) or len(value) > 100:
        raise ValueError("a name of at most 100 letters, digits, '_', '-' and '.', starting with a letter or digit")
    return value


def _check_encoder(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    _check_known((value,) if isinstance(value, str) else value, ENCODERS, "encoder")
    return value


def _check_loss(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    _check_known((value,) if isinstance(value, str) else value, LOSSES, "loss")
    return value


def _check_distinct(values: tuple, info: ValidationInfo) -> tuple:
    if len(set(values)) != len(values):
        raise ValueError(f"{info.field_name} without repetition")
    return values


def _check_some(values: tuple, info: ValidationInfo) -> tuple:
    if not values:
        raise ValueError(f"at least one of {info.field_name}")
    return values


def _check_seeds(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(not 0 <= seed < 2**32 for seed in values):
        raise ValueError("seeds from 0 to 4294967295")
    return values


def _check_start(value: str) -> str:
    if value and not (_START.fullmatch(value) and len(value) <= 30):
        raise ValueError("a name of at most 30 lower-case letters and digits, with '-' between words: fine-tuned")
    return value


def _check_weights(value: Any) -> str | dict[str, str]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping) and value and all(isinstance(file, str) and file for file in value.values()):
        _check_known(tuple(value), ENCODERS, "encoder")
        return dict(value)
    raise ValueError(
        "imagenet, none, a .h5 file, a folder with <encoder>.h5, or a file for each encoder: {vgg16: a.h5}"
    )


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_Name = Annotated[str, AfterValidator(_check_name)]
_Weights = Annotated[str | dict[str, str], BeforeValidator(_check_weights)]
_Levels = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(_check_some)]
_Names = Annotated[tuple[str, ...], AfterValidator(_check_distinct)]
_Seeds = Annotated[
    tuple[int, ...], AfterValidator(_check_seeds), AfterValidator(_check_some), AfterValidator(_check_distinct)
]


class DataSettings(BaseModel):
    """Settings of the images and their split, for trainings and earlier methods."""

    # defer_build: base classes need no validator.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, defer_build=True)

    dataset: str = Field(
        "synthetic", min_length=1, description="Name of a dataset (`wbcstudy data list`) or path of a dataset.yaml."
    )
    image_size: int = Field(
        256,
        ge=32,
        le=4096,
        description="Side in px of the square images that networks and earlier methods see; a multiple of 32.",
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of the cases in the test set; used only when folds is 1."
    )
    validation_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of the other cases in the validation set, which is used for early stopping."
    )
    split_seed: int = Field(
        0, ge=0, description="Seed of the split into training, validation and test set; one split per study."
    )
    max_training_cases: int = Field(
        0,
        ge=0,
        description="Use at most this many of the training cases, drawn by split_seed; 0 for all.",
    )
    near_duplicates: bool = Field(
        True, description="Search for near duplicates (images of the same cell), which stay together in the split."
    )
    score_at: Literal["native", "image_size"] = Field(
        "native",
        description="Size at which predictions are scored: native (each image's own) or image_size (all resized).",
    )

    @property
    def score_px(self) -> int | None:
        """Side in px of the square at which predictions are scored; None for each image's own size."""
        return None if self.score_at == "native" else self.image_size

    @field_validator("*", mode="before")
    @classmethod
    def _no_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        # In Python, true is 1: `epochs: true` would train one epoch.
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in values) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("a number or text, not true or false")
        return value

    @field_validator("image_size")
    @classmethod
    def _divisible(cls, value: int) -> int:
        if value % SIZE_STEP_PX:
            below = value // SIZE_STEP_PX * SIZE_STEP_PX
            raise ValueError(
                f"a multiple of {SIZE_STEP_PX} (every encoder halves the image five times); "
                f"the nearest are {below or SIZE_STEP_PX} and {below + SIZE_STEP_PX}"
            )
        return value


class _Settings(DataSettings):
    """Settings of a training, for a study and a run."""

    batch_size: int = Field(8, ge=1, le=1024, description="Images per training step; lower it if memory runs out.")
    augmented_copies: int = Field(4, ge=1, le=1000, description="Augmented passes over the training images per epoch.")
    epochs: int = Field(
        100, ge=1, le=100_000, description="Maximum number of epochs; early stopping usually ends the training sooner."
    )
    patience: int = Field(
        10, ge=1, description="Training stops after this many epochs without a lower validation loss."
    )
    learning_rate: float = Field(1.0e-3, gt=0, le=1, description="Learning rate of the Adam optimiser.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Schedule: constant, or cosine (rises in the first epoch, then falls to 0)."
    )
    encoder_weights: str = Field(
        "none",
        min_length=1,
        description="Initial weights of the encoder: imagenet, none (random) or the path of a .h5 file.",
    )
    start_from: str = Field(
        "none",
        min_length=1,
        description="Start all weights from a network: starter, a run's folder or a study's name; or none.",
    )
    freeze_encoder: bool = Field(
        False, description="Train the decoder only; batch norm in the encoder keeps its stored statistics."
    )
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Dropout rate before the last layer; in the plain U-Net also at the bottom."
    )
    batch_norm_momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="Momentum of the running mean and variance; 0.99 needs hundreds of steps to converge.",
    )
    weight_average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Keep the moving average of the weights with this decay per step, for example 0.99; 0 for none.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of convolutions: float32, bfloat16 or auto (bfloat16 if the hardware has units for it).",
    )
    rotation_degrees: float = Field(
        180.0, ge=0, le=180, description="Augmentation: maximum rotation in either direction, in degrees."
    )
    zoom: float = Field(
        0.1, ge=0, lt=1, description="Augmentation: maximum zoom in or out, as a share of the image side."
    )
    brightness: float = Field(
        0.1, ge=0, lt=1, description="Augmentation: maximum change of brightness, as a share of 255."
    )
    colour_augmentation: float = Field(
        0.0, ge=0, lt=1, description="Augmentation: maximum change of hue (share of 180 degrees) and of saturation."
    )
    stain_normalisation: Literal["none", "reinhard", "macenko"] = Field(
        "none", description="Adjust the colours of each image to the training images: none, reinhard or macenko."
    )
    test_time_flips: bool = Field(
        False, description="Average the predictions for eight flipped and rotated copies of each test image."
    )

    @property
    def kept_weights(self) -> str:
        """Say which weights of a training were kept, as a clause."""
        if not self.weight_average:
            return "the weights of the best epoch were kept"
        return (
            f"the exponential moving average of the weights (decay {self.weight_average:g} per step, shorter in the "
            "first steps) was validated after each epoch, and that of the best epoch was kept"
        )

    @model_validator(mode="after")
    def _nothing_to_freeze(self):
        _check_one_start(self)
        if self.freeze_encoder and self.encoder_weights == self.start_from == "none":
            raise ValueError(
                "freeze_encoder: false with encoder_weights: none; a frozen random encoder cannot learn. "
                "Give it weights (imagenet or a file), or set freeze_encoder: false"
            )
        return self


class RunConfig(_Settings):
    """One training: the parameters of `notebooks/2_train.ipynb`."""

    study: _Name = Field("by_hand", description="Name of the study, its folder under outputs/.")
    encoder: Annotated[str, AfterValidator(_check_encoder)] = Field(
        "resnet18", description="Encoder of the U-Net (`wbcstudy encoders` lists them)."
    )
    loss: Annotated[str, AfterValidator(_check_loss)] = Field(
        "cross_entropy", description="Loss function: cross_entropy, dice or binary_cross_entropy."
    )
    fold: int = Field(0, ge=0, description="Index of the cross-validation fold, from 0.")
    folds: int = Field(
        1, ge=1, le=100, description="Number of cross-validation folds; 1 is a single split by test_fraction."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of all random generators: weights, image order, augmentation, dropout."
    )
    start: Annotated[str, AfterValidator(_check_start)] = Field(
        "", description="Name of the encoder's start, one of the study's starts; '' in a study without starts."
    )

    @model_validator(mode="after")
    def _consistent(self):
        _check_fold(self)
        if ENCODERS[self.encoder].backbone is None and self.encoder_weights != "none":
            raise ValueError(f"encoder_weights: none for {self.encoder!r}, which has no pretrained weights")
        return self

    @property
    def name(self) -> str:
        """Name of the run and its folder."""
        return f"{self.method}__fold{self.fold}__seed{self.seed}"

    @property
    def method(self) -> str:
        """Name of the method, which all folds and seeds share: `resnet18__dice`, `resnet18__dice__frozen`."""
        return join_method(self.encoder, self.loss, self.start)


class BaselineConfig(DataSettings):
    """One earlier method on one fold: the parameters of `notebooks/3_baseline.ipynb`."""

    study: _Name = Field("by_hand", description="Name of the study, its folder under outputs/.")
    method: _Name = Field("otsu_levels", description="Earlier method (`wbcstudy methods` lists them).")
    fold: int = Field(0, ge=0, description="Index of the cross-validation fold, from 0.")
    folds: int = Field(
        1, ge=1, le=100, description="Number of cross-validation folds; 1 is a single split by test_fraction."
    )
    seeds: _Seeds = Field(
        (0, 1, 2, 3, 4), description="Seeds of a method with random training; other methods use only the first."
    )

    @model_validator(mode="after")
    def _known_fold(self):
        return _check_fold(self)

    @property
    def name(self) -> str:
        """Name of the method's folder."""
        return f"{self.method}__fold{self.fold}"


class EncoderStart(BaseModel):
    """One way to start the networks of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    encoder_weights: _Weights = "none"
    start_from: str = Field("none", min_length=1)
    freeze_encoder: bool = False

    @model_validator(mode="after")
    def _one_start(self):
        return _check_one_start(self)

    @property
    def is_random(self) -> bool:
        """Whether it starts from random weights."""
        return self.encoder_weights == self.start_from == "none"

    def weights_of(self, encoder: str) -> str:
        """Return `encoder_weights` of one encoder: imagenet, none or a file.

        A path without the suffix .h5, .hdf5 or .keras is a folder with one file per encoder.

        Raises:
            KeyError: the encoder has no entry.
        """
        if ENCODERS[encoder].backbone is None:
            return "none"
        weights = self.encoder_weights
        if isinstance(weights, Mapping):
            return weights[encoder]
        if weights in ("none", "imagenet") or PurePath(weights).suffix.lower() in (".h5", ".hdf5", ".keras"):
            return weights
        return str(PurePath(weights) / f"{encoder}.h5")


class Question(BaseModel):
    """A planned comparison of two groups of methods that differ in one factor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str = Field(min_length=1, description="The question, as a sentence.")
    factor: Literal["encoder", "loss", "start"]
    compare: _Levels = Field(description="Levels of the factor.")
    against: _Levels = Field(description="Levels of the factor that they are compared with.")
    measure: Literal["dice", "epochs"] = Field(
        "dice",
        description="dice: difference of the mean Dice; epochs: first epoch that reaches the best validation Dice of "
        "the training it is compared with.",
    )
    paper: str = Field("", description="What the paper claims.")


class Method(NamedTuple):
    """An encoder with a loss and a start, with the weights of the encoder or the network that it starts from."""

    encoder: str
    loss: str
    start: str
    encoder_weights: str
    freeze_encoder: bool
    start_from: str = "none"

    @property
    def name(self) -> str:
        """Name in scores and tables: `resnet18__dice`, `resnet18__dice__frozen`."""
        return join_method(self.encoder, self.loss, self.start)


class StudyConfig(_Settings):
    """All trainings of one report: `params/<study>.yaml`."""

    name: _Name = Field("demo", exclude=True, description="Stem of the file's name; not a field of the file.")
    encoders: Annotated[_Names, AfterValidator(_check_encoder)] = Field(("resnet18",), description="Encoders to train.")
    losses: Annotated[_Names, AfterValidator(_check_some), AfterValidator(_check_loss)] = Field(
        ("cross_entropy", "dice"), description="Losses to train each encoder with."
    )
    encoder_weights: _Weights = Field(
        "none",
        description="Initial weights: imagenet, none (random), a .h5 file, a folder with <encoder>.h5, or "
        "{encoder: file}.",
    )
    starts: dict[str, EncoderStart] = Field(
        {},
        description="Starts to compare, {name: {encoder_weights or start_from: ..., freeze_encoder: ...}}; replaces "
        "these settings.",
    )
    folds: int = Field(
        1, ge=1, le=100, description="Number of cross-validation folds; 1 is a single split by test_fraction."
    )
    seeds: _Seeds = Field((0,), description="Each encoder, loss and fold is trained once per seed.")
    baselines: _Names = Field(
        (), description="Earlier methods to compare with the U-Nets (`wbcstudy methods` lists them)."
    )
    baseline_seeds: _Seeds = Field((0, 1, 2, 3, 4), description="Seeds of the earlier methods with random training.")
    also_score: _Names = Field(
        (), description="Other datasets, by name or path, on which the trained networks are evaluated."
    )
    equivalence_margin: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="Largest difference in mean Dice that is unimportant; two networks within it are equivalent.",
    )
    compare_with: str = Field(
        "none",
        min_length=1,
        description="Planned comparisons: only with this pair, e.g. resnet50__cross_entropy; none compares all pairs.",
    )
    questions: tuple[Question, ...] = Field(
        (), description="Planned questions, answered in the report: ask, factor, compare, against, measure, paper."
    )

    @model_validator(mode="after")
    def _something_to_do(self):
        if not self.encoders and not self.baselines:
            raise ValueError("at least one encoder or one baseline")
        if self.dataset in self.also_score:
            raise ValueError(f"datasets other than the training dataset ({self.dataset}) in also_score")
        if self.also_score and not self.encoders:
            raise ValueError("at least one encoder with also_score, which evaluates the trained networks")
        return self

    @model_validator(mode="after")
    def _usable_starts(self):
        if self.starts and (self.encoder_weights != "none" or self.start_from != "none" or self.freeze_encoder):
            raise ValueError("starts, or encoder_weights, start_from and freeze_encoder, not both")
        for name, start in self._named_starts().items():
            try:
                _check_start(name)
            except ValueError as error:
                raise ValueError(f"starts: {error}; not {name!r}") from None
            weights = start.encoder_weights
            for encoder in self.encoders:
                if ENCODERS[encoder].backbone is None:
                    continue
                if isinstance(weights, Mapping) and encoder not in weights:
                    raise ValueError(f"encoder_weights: a file for each encoder; {encoder} has none")
                if start.freeze_encoder and start.start_from == start.weights_of(encoder) == "none":
                    raise ValueError(
                        f"freeze_encoder: false with encoder_weights: none ({encoder}{name and ', ' + name}); "
                        "a frozen random encoder cannot learn"
                    )
        random = self.starts.get(RANDOM_START)
        if random and not random.is_random and not self._scratch_start():
            raise ValueError(f"encoder_weights: none for the start {RANDOM_START}, or another name")
        return self

    @model_validator(mode="after")
    def _known_methods(self):
        names = [method.name for method in self.methods()]
        if self.compare_with not in ("none", *names):
            known = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            raise ValueError(f"compare_with: none or a pair of this study ({known}), not {self.compare_with}")
        for question in self.questions:
            levels = {getattr(method, question.factor) for method in self.methods()}
            unknown = [level for level in (*question.compare, *question.against) if level not in levels]
            if unknown:
                known = ", ".join(sorted(levels))
                raise ValueError(f"questions: a {question.factor} of this study ({known}), not {unknown[0]}")
            if set(question.compare) & set(question.against):
                raise ValueError(f"questions: different levels in compare and against ({question.ask})")
        return self

    def _named_starts(self) -> dict[str, EncoderStart]:
        """Return the starts; without any, one without a name."""
        if self.starts:
            return self.starts
        names = EncoderStart.model_fields
        return {"": EncoderStart(**{name: getattr(self, name) for name in names})}

    def _scratch_start(self) -> str:
        """Return the name of the start from random weights, '' for none."""
        return next((name for name, start in self.starts.items() if start.is_random), "")

    def _starts_of(self, encoder: str) -> dict[str, EncoderStart]:
        """Return the starts of one encoder.

        The plain U-Net has no pretrained encoder. It starts from random weights and is not frozen, as in the paper, and
        has this one start only, except for starts from a whole network.
        """
        starts = self._named_starts()
        if ENCODERS[encoder].backbone is not None:
            return starts
        whole = {
            name: start.model_copy(update={"freeze_encoder": False})
            for name, start in starts.items()
            if start.start_from != "none"
        }
        scratch = self._scratch_start() or (RANDOM_START if self.starts else "")
        return whole if len(whole) == len(starts) else {scratch: EncoderStart()} | whole

    def methods(self) -> Iterator[Method]:
        """Return each encoder with each loss and start, ordered by encoder, loss and start."""
        for encoder in self.encoders:
            for loss in self.losses:
                for name, start in self._starts_of(encoder).items():
                    yield Method(encoder, loss, name, start.weights_of(encoder), start.freeze_encoder, start.start_from)

    def baseline_runs(self) -> list[BaselineConfig]:
        """Return each earlier method on each fold, ordered by method and fold."""
        shared = self.model_dump(include=set(DataSettings.model_fields))
        return [
            BaselineConfig(
                **shared, study=self.name, method=method, fold=fold, folds=self.folds, seeds=self.baseline_seeds
            )
            for method in self.baselines
            for fold in range(self.folds)
        ]

    def runs(self) -> list[RunConfig]:
        """Return the runs of the study, ordered by encoder, loss, start, fold and seed."""
        shared = self.model_dump(include=set(_Settings.model_fields))
        return [
            RunConfig(**shared | method._asdict(), study=self.name, fold=fold, folds=self.folds, seed=seed)
            for method in self.methods()
            for fold in range(self.folds)
            for seed in self.seeds
        ]


def join_method(encoder: str, loss: str, start: str = "") -> str:
    """Return the name of a method: `<encoder>__<loss>`, or `<encoder>__<loss>__<start>` in a study with starts."""
    return "__".join(part for part in (encoder, loss, start) if part)


def split_run_name(name: str) -> tuple[str, int, int] | None:
    """Split a run's name into method, fold and seed; None for a name of another form.

    The method is `<encoder>__<loss>`, `<encoder>__<loss>__<start>` or the name of an earlier method.
    """
    match = re.fullmatch(r"(.+)__fold(\d+)__seed(\d+)", name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def _check_one_start(settings):
    if settings.start_from != "none" and settings.encoder_weights != "none":
        raise ValueError("encoder_weights: none with start_from, which gives the encoder its weights too")
    return settings


def _check_fold(config):
    if config.fold >= config.folds:
        raise ValueError(f"fold below folds ({config.folds}); folds count from 0. Got fold {config.fold}")
    return config
