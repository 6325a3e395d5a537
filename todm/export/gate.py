"""The accuracy gate: a quantized form may cost no more than a stated part of dev accuracy.

A scheme is met when its RNN-T likelihood rises by at most 1 % and a one-sided 95 % bound of its
WER's rise stays within 0.5 points, both measured by the form's own runtime against the float32
form. Where it is not met and int8's sums saturate on this CPU, weights of seven bits are tried.
Where that does not do, each linear is quantized alone to see what it costs (on fewer utterances);
the worst fall back to float32, one, two, four ... at a time, and then as few as are found to do.
Each layer's figure is that of the whole net's likelihood: sizes and signs of single errors say
little of what greedy search makes of them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from todm.core.errors import ConfigError, GateError
from todm.core.quality import GateRecord, LayerRise
from todm.core.quantization import GateConfig, OnnxDynamicInt8, Quantized
from todm.core.report import environment
from todm.decode.steps import TransducerSteps
from todm.decode.tokens import TokenTable
from todm.export.evidence import Spoken, spread
from todm.export.likelihood import FormScores, form_nll, score_form, wer_rise_bound
from todm.export.schemes import Workshop, form_of


@dataclass(frozen=True)
class Trial:
    """A scheme with some fallbacks, judged."""

    scheme: Quantized
    record: GateRecord

    @property
    def met(self) -> bool:
        """Both lines hold."""
        return self.record.status == "met"


@dataclass(frozen=True)
class AccuracyGate:
    """The gate of one net: the float32 form's scores are measured once for each runtime."""

    workshop: Workshop
    dev: tuple[Spoken, ...]
    table: TokenTable
    config: GateConfig

    def ship(self, scheme: Quantized) -> GateRecord:
        """Write a scheme so that it holds the gate, with as few fallbacks as are found to do.

        Raises:
            GateError: it holds with no set of fallbacks that leaves a linear quantized.
            ConfigError: a fallback is no linear of the net.
        """
        known = self.workshop.layers(scheme)
        asked = set(scheme.fallbacks) - set(type(scheme)().fallbacks)
        if unknown := sorted(asked - set(known)):
            raise ConfigError(
                f"fallbacks: no linear {unknown[0]!r}; there are {', '.join(sorted(known))}"
            )
        reference = score_form(self._open_reference(scheme), self.dev, self.table)
        trial = self._try(scheme, reference, (), 1)
        if not trial.met and _saturates(scheme):
            scheme = scheme.model_copy(update={"reduce_range": True})
            trial = self._try(scheme, reference, (), 2)
        if trial.met:
            return trial.record
        ranking = self.rank(scheme)
        return self._search(scheme, reference, ranking, trial).record

    def _open_reference(self, scheme: Quantized) -> TransducerSteps:
        return self.workshop.open(form_of(scheme), "fp32")

    def _try(
        self,
        scheme: Quantized,
        reference: FormScores,
        ranking: Sequence[LayerRise],
        tried: int,
    ) -> Trial:
        taken = self.workshop.write(scheme)
        scores = score_form(
            self.workshop.open(form_of(scheme), scheme.precision), self.dev, self.table
        )
        bound = wer_rise_bound(reference.errors, scores.errors, self.config.seed)
        rise = scores.nll / max(reference.nll, 1e-12) - 1.0
        met = rise <= self.config.max_nll_rise and bound <= self.config.max_wer_rise
        return Trial(
            scheme,
            GateRecord(
                form=form_of(scheme),
                scheme=scheme,
                isa=environment().isa,
                status="met" if met else "failed",
                nll_fp32=reference.nll,
                nll=scores.nll,
                max_nll_rise=self.config.max_nll_rise,
                wer_fp32=reference.errors.wer,
                wer=scores.errors.wer,
                wer_rise_bound=bound,
                max_wer_rise=self.config.max_wer_rise,
                utterances=len(self.dev),
                words=scores.errors.words,
                linears=taken,
                ranking=tuple(ranking),
                tried=tried,
            ),
        )

    def rank(self, scheme: Quantized) -> tuple[LayerRise, ...]:
        """Quantize each linear alone and return what it costs, worst first."""
        some = spread(self.dev, self.config.ranking_utterances)
        layers = [n for n in self.workshop.layers(scheme) if n not in scheme.fallbacks]
        with self.workshop.emulated(with_fallbacks(scheme, self.workshop.layers(scheme))) as steps:
            whole = form_nll(steps, some)
        found = []
        for layer in tqdm(layers, desc=f"rank {scheme.precision}", file=sys.stderr, mininterval=5):
            others = tuple(n for n in self.workshop.layers(scheme) if n != layer)
            with self.workshop.emulated(with_fallbacks(scheme, others)) as steps:
                rise = form_nll(steps, some) / max(whole, 1e-12) - 1.0
            found.append(LayerRise(layer=layer, nll_rise=rise))
        return tuple(sorted(found, key=lambda r: -r.nll_rise))

    def _search(
        self, scheme: Quantized, reference: FormScores, ranking: Sequence[LayerRise], first: Trial
    ) -> Trial:
        trials: dict[int, Trial] = {}

        def holds(count: int) -> bool:
            worst = (*scheme.fallbacks, *(rise.layer for rise in ranking[:count]))
            trials[count] = self._try(
                with_fallbacks(scheme, worst),
                reference,
                ranking,
                first.record.tried + len(trials) + 1,
            )
            return trials[count].met

        count = fewest(holds, len(ranking) - 1)
        if count is None:
            last = (trials[max(trials)] if trials else first).record
            raise GateError(
                f"{last.name}: the likelihood rises by {100 * (last.nll_rise or 0):.2f} % (limit "
                f"{100 * self.config.max_nll_rise:g} %) and the WER by up to "
                f"{last.wer_rise_bound:.2f} points (limit {self.config.max_wer_rise:g}) on "
                f"{last.words} dev words with {len(last.scheme.fallbacks)} of "
                f"{len(self.workshop.layers(scheme))} linears in float32; leave this precision "
                "out, give a longer dev split, or fine-tune the subnet for it (todm finetune)"
            )
        if count != next(reversed(trials)):  # the last one tried is what lies in the folder
            self.workshop.write(trials[count].scheme)
        return trials[count]


def _saturates(scheme: Quantized) -> bool:
    return isinstance(scheme, OnnxDynamicInt8) and scheme.saturates(environment().isa)


def with_fallbacks(scheme: Quantized, fallbacks: Sequence[str]) -> Quantized:
    """Return a scheme with these fallbacks, in a stable order."""
    return scheme.model_copy(update={"fallbacks": tuple(dict.fromkeys(fallbacks))})


def fewest(holds: Callable[[int], bool], most: int) -> int | None:
    """Return a small count for which ``holds`` is true: doubled until it does, then halved back.

    Whether more fallbacks always do better is not certain, so the count need not be the least.
    """
    low, high = 0, 1
    while high <= most and not holds(high):
        low, high = high, (most if high < most < 2 * high else 2 * high)
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
