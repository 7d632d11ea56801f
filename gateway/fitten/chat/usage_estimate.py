"""How many bytes of a model's text make a token, learnt from the counts the upstream gives.

For estimates only: what was counted is never corrected, and `max_tokens` is carried out
in the fixed measure of `gateway.generation.token_estimate`, so that a limit means the same at
all times.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque

from gateway.fitten.chat.decoder import UpstreamUsage
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation import token_estimate
from gateway.generation.outcome import Usage
from gateway.generation.stop_sequences import StopSequenceFilter

_KEPT = 31  # answers remembered; half of them may be nonsense without effect on the median
_TRUSTED = 3  # answers before what was learnt is believed
_LEAST_TOKENS = 16  # of shorter texts the count says little: what is hidden outweighs them
_PLAUSIBLE = (1.0, 12.0)  # bytes a token, in any language and with any vocabulary
_MODELS = 64


class TokenRatio:
    """Bytes per token: the median of the latest plausible answers, a fixed guess before."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_KEPT)

    def learn(self, byte_count: int, token_count: int) -> None:
        """A text's size and its count. What cannot be a count of it is left out: none at
        all, or with more tokens than bytes (hidden prompts and thoughts do that)."""
        if token_count >= _LEAST_TOKENS:
            ratio = byte_count / token_count
            if _PLAUSIBLE[0] <= ratio <= _PLAUSIBLE[1]:
                self._seen.append(ratio)

    @property
    def bytes_per_token(self) -> float:
        if len(self._seen) < _TRUSTED:
            return token_estimate.BYTES_PER_TOKEN
        return statistics.median(self._seen)

    def estimate(self, byte_count: int) -> int:
        """How many tokens so many bytes probably are: 0 for none, else at least 1."""
        if not byte_count:
            return 0
        return max(1, round(byte_count / self.bytes_per_token))


class ModelCalibration:
    """What is known of one model; prompts and answers apart, since they differ in kind."""

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
        """The usage of an answer as far as it went out, learning from it where that is sure.

        prompt_bytes: the size of the prompt's text; of its pictures nobody knows what they count.
        counted: what the upstream said. It holds for whole answers that nothing cut short:
            of the others it counts what came after the cut too, and whether it was seen
            at all would be chance.
        whole: whether the answer reached its own end.
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
        """An estimate that contradicts no limit: what reached it has as many tokens as it."""
        if max_tokens is None:
            return self.completion.estimate(sent)
        if stop_filter.finish_reason == "length":
            return stop_filter.completion_tokens
        return min(self.completion.estimate(sent), max_tokens)


class UsageCalibration:
    """The weights of the models in use; those unused for longest are forgotten."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelCalibration] = OrderedDict()

    def of(self, model: str) -> ModelCalibration:
        """What is known of a model, by its id; what is learnt there is kept."""
        weights = self._models.get(model)
        if weights is None:
            weights = self._models[model] = ModelCalibration()
            if len(self._models) > _MODELS:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end(model)
        return weights


def _reasoning(
    stop_filter: StopSequenceFilter | ToolStopSequenceFilter, sent: int, count: int
) -> int:
    """The thoughts' share of a count, by size."""
    return round(count * stop_filter.reasoning_bytes / sent) if stop_filter.reasoning_bytes else 0
