"""Advice from measurements: a plan for a network and a dataset, and the measured cases that it rests on."""

from hf_transfer_kit.selection.advice.cases import Case, Experience, Settings, experience_from, measured_experience
from hf_transfer_kit.selection.advice.fitting import evaluate_advice, fit_settings
from hf_transfer_kit.selection.advice.measuring import measure_case
from hf_transfer_kit.selection.advice.outlook import outlook
from hf_transfer_kit.selection.advice.recommend import recommend

__all__ = [
    "Case",
    "Experience",
    "Settings",
    "evaluate_advice",
    "experience_from",
    "fit_settings",
    "measure_case",
    "measured_experience",
    "outlook",
    "recommend",
]
