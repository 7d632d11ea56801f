"""Estimates token counts; learns the bytes per token of a model from Fitten's own counts.

Counts that Fitten reports are never changed. `max_tokens` uses the fixed ratio of
`gateway.generation.token_estimate`, so that a limit always means the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from gateway.fitten.chat.decoder import UpstreamUsage
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation import token_estimate
from gateway.generation.outcome import Usage
from gateway.generation.stop_sequences import StopSequenceFilter

_MAX_SAMPLES = 31  # answers that are remembered; the median ignores up to half of bad ones
_MIN_SAMPLES = 3  # answers that are needed before the median is used
_MIN_TOKENS = 16  # with fewer tokens, hidden text is a large part of the count
_PLAUSIBLE = (1.0, 12.0)  # bytes per token, in any language and with any vocabulary
_MAX_MODELS = 64


class TokenRatio:
    """Estimates bytes per token: the median of the latest answers, at first a fixed value."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_MAX_SAMPLES)

    def learn(self, byte_count: int, token_count: int) -> None:
        """Add the size of a text and its token count.

        A count that cannot be right is ignored: too small, or with more tokens than bytes,
        because Fitten counted hidden prompts or thoughts too.
        """
        if token_count >= _MIN_TOKENS:
            ratio = byte_count / token_count
            if _PLAUSIBLE[0] <= ratio <= _PLAUSIBLE[1]:
                self._samples.append(ratio)

    @property
    def bytes_per_token(self) -> float:
        if len(self._samples) < _MIN_SAMPLES:
            return token_estimate.BYTES_PER_TOKEN
        # The median by hand: the module `statistics` loads six others.
        ordered, middle = sorted(self._samples), len(self._samples) // 2
        return (ordered[middle] + ordered[~middle]) / 2

    def estimate(self, byte_count: int) -> int:
        """Return the likely number of tokens of so many bytes: 0 for none, else at least 1."""
        if not byte_count:
            return 0
        return max(1, round(byte_count / self.bytes_per_token))


class ModelCalibration:
    """Holds the ratios of one model: one for prompts, one for answers, since they differ."""

    def __init__(self) -> None:
        self.prompt = TokenRatio()
        self.completion = TokenRatio()

    def usage(
        self,
        prompt_bytes: int,
        stop_filter: StopSequenceFilter | ToolStopSequenceFilter,
        counted: UpstreamUsage | None,
        *,
        whole: bool,
        max_tokens: int | None,
    ) -> Usage:
        """Return the usage of an answer as far as it was sent; learn from reliable counts.

        prompt_bytes: the size of the prompt's text. Images are left out, since it is not known
            how Fitten counts them.
        counted: what Fitten reported. It is used only for whole answers that no stop sequence
            or limit ended: for others it includes text that was not sent, and often it does not
            arrive.
        whole: whether the answer ended without an error.
        max_tokens: the limit that the client set.
        """
        sent = stop_filter.content_bytes + stop_filter.reasoning_bytes
        if counted is not None and whole and not stop_filter.finish_reason:
            count = counted.output_tokens
            if counted.input_tokens and (count or not sent):
                self.prompt.learn(prompt_bytes, counted.input_tokens)
                self.completion.learn(sent, count)
                return Usage(counted.input_tokens, count, _reasoning(stop_filter, sent, count))
        count = self._completion(stop_filter, sent, max_tokens)
        return Usage(
            self.prompt.estimate(prompt_bytes),
            count,
            _reasoning(stop_filter, sent, count),
            estimated=True,
        )

    def _completion(
        self,
        stop_filter: StopSequenceFilter | ToolStopSequenceFilter,
        sent: int,
        max_tokens: int | None,
    ) -> int:
        """Return an estimate that fits `max_tokens`: never more; as many when it was reached."""
        if max_tokens is None:
            return self.completion.estimate(sent)
        if stop_filter.finish_reason == "length":
            return stop_filter.completion_tokens
        return min(self.completion.estimate(sent), max_tokens)


class UsageCalibration:
    """Holds a calibration for each model in use; forgets the one unused for longest."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelCalibration] = OrderedDict()

    def of(self, model: str) -> ModelCalibration:
        """Return the calibration of a model, by the model's id."""
        calibration = self._models.get(model)
        if calibration is None:
            calibration = self._models[model] = ModelCalibration()
            if len(self._models) > _MAX_MODELS:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end(model)
        return calibration

    def bytes_per_token(self, model: str) -> float:
        """Return the bytes per token of prompts; the usual number for a model not in use."""
        calibration = self._models.get(model)
        if calibration is None:
            return token_estimate.BYTES_PER_TOKEN
        return calibration.prompt.bytes_per_token


def _reasoning(
    stop_filter: StopSequenceFilter | ToolStopSequenceFilter, sent: int, count: int
) -> int:
    """Return the tokens of the reasoning: its share of the bytes, of `count`."""
    return round(count * stop_filter.reasoning_bytes / sent) if stop_filter.reasoning_bytes else 0
