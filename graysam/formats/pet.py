"""From the counts of a PET scanner to SUV by body weight, by the standard's tags.

SUV = activity / (injected dose, decayed to the time that the counts are corrected to, / body weight in g), as in the
QIBA profile's vendor-neutral recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

DicomHeader: TypeAlias = Any  # pydicom.Dataset

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class SuvScale:
    """How Bq/ml become SUV.

    Attributes:
        factor: what to multiply with; None when something is missing.
        missing: what is missing, in words; "" when nothing is.
    """

    factor: float | None
    missing: str = ""


def suv_factor(header: DicomHeader) -> float | None:
    """Give the factor of one slice's header; see `suv_scale`."""
    return suv_scale([header]).factor


def suv_scale(headers: Sequence[DicomHeader]) -> SuvScale:
    """Give the factor that turns a series' values into SUV by body weight.

    The scan's start is the earliest of series and acquisition times of all slices. The injection's time is
    RadiopharmaceuticalStartDateTime (0018,1078) or RadiopharmaceuticalStartTime (0018,1072).
    """
    header = headers[0]
    units = str(header.get("Units", "") or "")
    if units == "GML":  # SUV by body weight already, unless another kind is stated
        kind = str(header.get("SUVType", "") or "BW")
        return SuvScale(1.0) if kind == "BW" else SuvScale(None, f"SUV of type {kind}, wanted body weight")
    if units != "BQML":
        return SuvScale(None, f"units {units or 'not stated'}, wanted BQML or GML")
    sequence = header.get("RadiopharmaceuticalInformationSequence")
    weight_kg = _number(header.get("PatientWeight"))
    if not sequence:
        return SuvScale(None, "no radiopharmaceutical")
    if weight_kg <= 0:
        return SuvScale(None, "no body weight")
    drug = sequence[0]
    dose_bq, half_life_s = _number(drug.get("RadionuclideTotalDose")), _number(drug.get("RadionuclideHalfLife"))
    if dose_bq <= 0:
        return SuvScale(None, "no dose")
    if header.get("DecayCorrection") == "ADMIN":  # counts are already those of the time of injection
        return SuvScale(weight_kg * 1000 / dose_bq)
    if half_life_s <= 0:
        return SuvScale(None, "no half-life")
    waited = _waited(headers, drug)
    if waited is None:
        return SuvScale(None, "no time of injection or scan")
    decayed_bq = dose_bq * 2 ** (-waited.total_seconds() / half_life_s)
    return SuvScale(float(weight_kg * 1000 / decayed_bq))


def _waited(headers: Sequence[DicomHeader], drug: DicomHeader) -> timedelta | None:
    """Give the time from injection to the start of the scan."""
    starts = [moment for header in headers for moment in _starts(header)]
    injected = _moment(drug.get("RadiopharmaceuticalStartDateTime")) or _clock(drug.get("RadiopharmaceuticalStartTime"))
    if injected is None or not starts:
        return None
    dated = [moment for moment in starts if moment.year > 1900]
    if injected.year > 1900 and dated:
        waited = min(dated) - injected
        if timedelta(0) <= waited < _DAY:
            return waited
    # Without dates, or with dates that were shifted for anonymity: the clock alone, once over midnight at most.
    return min((_on_one_day(start) - _on_one_day(injected)) % _DAY for start in starts)


def _starts(header: DicomHeader) -> list[datetime]:
    pairs = (("SeriesDate", "SeriesTime"), ("AcquisitionDate", "AcquisitionTime"))
    moments = [_dated(header.get(date), header.get(time)) for date, time in pairs]
    return [moment for moment in (*moments, _moment(header.get("AcquisitionDateTime"))) if moment is not None]


def _dated(date: object, time: object) -> datetime | None:
    """Give date and time; the year is 1900 where there is no date, None without a time."""
    clock = _clock(time)
    if clock is None:
        return None
    return _moment(f"{str(date or '').strip()}{clock:%H%M%S}") or clock


def _moment(value: object) -> datetime | None:
    """Read DICOM's YYYYMMDDHHMMSS.ffffff&ZZXX, to the second and without the zone; None for anything less."""
    text = str(value or "").strip().split(".")[0].split("+")[0].split("-")[0]
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S") if len(text) >= 14 else None
    except ValueError:
        return None


def _clock(value: object) -> datetime | None:
    """Read DICOM's HHMMSS.ffffff; None for anything else."""
    text = str(value or "").split(".")[0].strip().replace(":", "")
    if len(text) < 2:  # an empty time is no midnight
        return None
    try:
        return datetime.strptime(text.ljust(6, "0")[:6], "%H%M%S")
    except ValueError:
        return None


def _on_one_day(moment: datetime) -> datetime:
    return moment.replace(year=1900, month=1, day=1)


def _number(value: object) -> float:
    try:
        return float(str(value or 0))
    except ValueError:
        return 0.0
