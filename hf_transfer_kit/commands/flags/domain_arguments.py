"""The flags of domains: sources, a target, and a domain that is never seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import PreparationArguments, row_count
from hf_transfer_kit.data import LoadedData, LoadedSources, PreparedData, distinct_names, load_data, united
from hf_transfer_kit.errors import SettingsError


@dataclass
class DomainArguments(PreparationArguments):
    """Which sources, with labels, and which target; the target's labels, if it has any, are for evaluation."""

    source: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Labelled data: Hub name, folder, file, digits. Without it digits are adapted. Several without "
            "--target: a network for domains that it never sees."
        },
    )
    source_model: str | None = field(
        default=None,
        metadata={"help": "A trained classifier in place of --source and --model_name_or_path: no source row is read."},
    )
    target: str | None = field(default=None, metadata={"help": "Data to adapt to, with or without labels."})
    unseen: str | None = field(
        default=None,
        metadata={"help": "With several sources: labelled data whose test rows are read once, for the last figure."},
    )
    source_config: list[str] = field(
        default_factory=list, metadata={"help": "Configuration of a Hub dataset: one, or one for each source."}
    )
    target_config: str | None = field(
        default=None, metadata={"help": "The same for --target or --unseen, like the next four."}
    )
    target_input_column: str | None = field(default=None, metadata={"help": "Where it has another name there."})
    target_label_column: str | None = field(default=None, metadata={"help": "Where it has another name there."})
    train_size: str | None = field(
        default=None,
        metadata={"help": "Labelled rows of each source to train on, stratified: a number, or a share such as 0.1."},
    )
    source_rows: list[str] = field(
        default_factory=list,
        metadata={"help": "Rows to keep of every source, such as speaker=george,lucas; several."},
    )
    target_rows: list[str] = field(default_factory=list, metadata={"help": "The same for the target."})
    open_target: bool = field(
        default=False,
        metadata={"help": "The target may hold rows of classes that the source lacks: they are to be rejected."},
    )

    def __post_init__(self) -> None:
        row_count("--train_size", self.train_size)
        if self.train_size is not None and not self.source:
            raise SettingsError("--train_size is of --source, and no source was named. Leave it out.")

    def load(self) -> tuple[LoadedData | LoadedSources, LoadedData]:
        """Source (or sources) and target, checked; a DataError says what is wrong with them.

        Raises:
            SettingsError: When only one of both is named, or rows to keep are no column=value.
        """
        if not self.source or self.target is None:
            raise SettingsError(
                "--source and --target belong together: name both, or neither for the embedded digits. Two sources or "
                "more need no --target: they make a network for domains that it never sees."
            )
        sources = self.load_sources()
        source = sources.first if len(sources.parts) == 1 else sources
        target = self._load_other(
            self.target,
            modality=source.modality,
            labelled=False,
            class_names=source.label_names,
            open_classes=self.open_target,
        )
        return source, target

    def load_sources(self) -> LoadedSources:
        """All sources, checked against each other.

        Raises:
            SettingsError: When one is named twice, or there are more configurations than sources.
        """
        stage("Reading the data")
        configs = self._source_configs
        if len(configs) != len(self.source):
            raise SettingsError(
                f"--source_config names {len(configs)} configurations for {len(self.source)} sources: give one for "
                "all, or one for each."
            )
        named = list(zip(self.source, configs, strict=True))
        if twice := [name for name, _ in named if len(set(named)) < len(named) and self.source.count(name) > 1]:
            raise SettingsError(f"--source names {twice[0]} twice: leaving it out would not leave it out.")
        loaded = [
            load_data(
                name,
                config_name=config,
                input_column=self.input_column,
                label_column=self.label_column,
                keep_rows=_rows("--source_rows", self.source_rows),
                train_size=row_count("--train_size", self.train_size),
                **self._common,
            )
            for name, config in named
        ]
        return LoadedSources(dict(zip(distinct_names([data.name for data in loaded]), loaded, strict=True)))

    def load_unseen(self, sources: LoadedSources) -> LoadedData | None:
        """The domain of the last figure, its classes in the order of the sources'; None where none is named.

        Raises:
            SettingsError: When it is a source, or flags of a target have nothing to say something about.
        """
        stage("Reading the data")
        if self.unseen is None:
            about = [name for name in ("config", "input_column", "label_column") if getattr(self, f"target_{name}")]
            if about or self.target_rows:
                flag = f"--target_{about[0] if about else 'rows'}"
                raise SettingsError(f"{flag} is about --target or --unseen, and neither was given.")
            return None
        if (self.unseen, self.target_config) in zip(self.source, self._source_configs, strict=True):
            raise SettingsError(f"--unseen {self.unseen} is a source, so it would be seen: leave it out of --source.")
        data = self._load_other(self.unseen, modality=sources.modality)
        return sources.like_these(data.name, data)

    def prepare(self, data: LoadedData | LoadedSources, processor, **options) -> PreparedData:
        """Model-ready splits and their collator; several sources become one in which each counts alike."""
        if isinstance(data, LoadedSources):
            return united(list(self.prepare_sources(data, processor).values()), seed=self.split_seed)
        return super().prepare(data, processor, **options)

    def prepare_sources(self, sources: LoadedSources, processor) -> dict[str, PreparedData]:
        """Name -> splits, all prepared like the first one's."""
        names = list(sources.parts)
        prepared = {names[0]: super().prepare(sources.first, processor)}
        for name in names[1:]:
            prepared[name] = super().prepare(sources.parts[name], processor, like=prepared[names[0]])
        return prepared

    @property
    def _source_configs(self) -> list[str | None]:
        given = self.source_config or [None]
        return given * len(self.source) if len(given) == 1 else given

    @property
    def _common(self) -> dict[str, object]:
        return {
            "validation_size": self.validation_size,
            "test_size": self.test_size,
            "missing_label": self.missing_label,
            "skip_bad_rows": self.skip_bad_rows,
            "seed": self.split_seed,
        }

    def _load_other(self, name: str, **options: object) -> LoadedData:
        return load_data(
            name,
            config_name=self.target_config,
            input_column=self.target_input_column or self.input_column,
            label_column=self.target_label_column or self.label_column,
            keep_rows=_rows("--target_rows", self.target_rows),
            **self._common,
            **options,
        )


def _rows(flag: str, texts: list[str]) -> dict[str, list[str]] | None:
    """``speaker=george,lucas`` as column -> values."""
    found = {}
    for text in texts:
        column, equals, values = text.partition("=")
        if not equals or not values:
            raise SettingsError(f"{flag} {text}: write column=value, or column=value,value.")
        found[column] = values.split(",")
    return found or None
