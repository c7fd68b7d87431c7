from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]

class Level(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEVEL_UNSPECIFIED: _ClassVar[Level]
    LEVEL_FAST: _ClassVar[Level]
    LEVEL_STANDARD: _ClassVar[Level]
    LEVEL_THOROUGH: _ClassVar[Level]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ON_PATH: _ClassVar[Verdict]
    VERDICT_OFF_PATH: _ClassVar[Verdict]
    VERDICT_ABSTAIN: _ClassVar[Verdict]

class DriftState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_STATE_UNSPECIFIED: _ClassVar[DriftState]
    DRIFT_STATE_NONE: _ClassVar[DriftState]
    DRIFT_STATE_FOUND: _ClassVar[DriftState]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BULK: Priority
LEVEL_UNSPECIFIED: Level
LEVEL_FAST: Level
LEVEL_STANDARD: Level
LEVEL_THOROUGH: Level
VERDICT_UNSPECIFIED: Verdict
VERDICT_ON_PATH: Verdict
VERDICT_OFF_PATH: Verdict
VERDICT_ABSTAIN: Verdict
DRIFT_STATE_UNSPECIFIED: DriftState
DRIFT_STATE_NONE: DriftState
DRIFT_STATE_FOUND: DriftState

class DetectRequest(_message.Message):
    __slots__ = ("images", "alpha", "include_path", "include_layers", "level", "priority", "include_explanation")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PATH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LAYERS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    alpha: float
    include_path: bool
    include_layers: bool
    level: Level
    priority: Priority
    include_explanation: bool
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., alpha: _Optional[float] = ..., include_path: _Optional[bool] = ..., include_layers: _Optional[bool] = ..., level: _Optional[_Union[Level, str]] = ..., priority: _Optional[_Union[Priority, str]] = ..., include_explanation: _Optional[bool] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("encoded", "raw")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawTensor
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawTensor, _Mapping]] = ...) -> None: ...

class RawTensor(_message.Message):
    __slots__ = ("data", "height", "width", "channels")
    DATA_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    height: int
    width: int
    channels: int
    def __init__(self, data: _Optional[bytes] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("detections", "request_id", "bundle_digest")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    request_id: str
    bundle_digest: str
    def __init__(self, detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., request_id: _Optional[str] = ..., bundle_digest: _Optional[str] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("predicted_class", "label", "probability", "score", "p_value", "alpha", "verdict", "reason", "path", "layers", "level", "passes", "unstable_gates", "in_campaign", "p_value_is_bucket", "explanation")
    PREDICTED_CLASS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    UNSTABLE_GATES_FIELD_NUMBER: _ClassVar[int]
    IN_CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_IS_BUCKET_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    predicted_class: int
    label: str
    probability: float
    score: float
    p_value: float
    alpha: float
    verdict: Verdict
    reason: str
    path: Path
    layers: _containers.RepeatedCompositeFieldContainer[LayerWeight]
    level: Level
    passes: int
    unstable_gates: int
    in_campaign: bool
    p_value_is_bucket: bool
    explanation: Explanation
    def __init__(self, predicted_class: _Optional[int] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., score: _Optional[float] = ..., p_value: _Optional[float] = ..., alpha: _Optional[float] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reason: _Optional[str] = ..., path: _Optional[_Union[Path, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[LayerWeight, _Mapping]]] = ..., level: _Optional[_Union[Level, str]] = ..., passes: _Optional[int] = ..., unstable_gates: _Optional[int] = ..., in_campaign: _Optional[bool] = ..., p_value_is_bucket: _Optional[bool] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Path(_message.Message):
    __slots__ = ("layers",)
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[LayerPath]
    def __init__(self, layers: _Optional[_Iterable[_Union[LayerPath, _Mapping]]] = ...) -> None: ...

class LayerPath(_message.Message):
    __slots__ = ("name", "gates", "bits", "logits", "activations")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    gates: int
    bits: bytes
    logits: _containers.RepeatedScalarFieldContainer[float]
    activations: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., gates: _Optional[int] = ..., bits: _Optional[bytes] = ..., logits: _Optional[_Iterable[float]] = ..., activations: _Optional[_Iterable[float]] = ...) -> None: ...

class LayerWeight(_message.Message):
    __slots__ = ("name", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("distance", "layers", "gates", "rival", "neighbours", "parts")
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    RIVAL_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    distance: float
    layers: _containers.RepeatedCompositeFieldContainer[ExplainedLayer]
    gates: _containers.RepeatedCompositeFieldContainer[ExplainedGate]
    rival: Rival
    neighbours: _containers.RepeatedCompositeFieldContainer[NearImage]
    parts: _containers.RepeatedCompositeFieldContainer[ScorePart]
    def __init__(self, distance: _Optional[float] = ..., layers: _Optional[_Iterable[_Union[ExplainedLayer, _Mapping]]] = ..., gates: _Optional[_Iterable[_Union[ExplainedGate, _Mapping]]] = ..., rival: _Optional[_Union[Rival, _Mapping]] = ..., neighbours: _Optional[_Iterable[_Union[NearImage, _Mapping]]] = ..., parts: _Optional[_Iterable[_Union[ScorePart, _Mapping]]] = ...) -> None: ...

class ScorePart(_message.Message):
    __slots__ = ("name", "surprisal", "sentence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SURPRISAL_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    surprisal: float
    sentence: str
    def __init__(self, name: _Optional[str] = ..., surprisal: _Optional[float] = ..., sentence: _Optional[str] = ...) -> None: ...

class ExplainedLayer(_message.Message):
    __slots__ = ("name", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    contribution: float
    def __init__(self, name: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class ExplainedGate(_message.Message):
    __slots__ = ("layer", "filter", "is_open", "open_share", "activation", "usual_activation", "contribution", "sentence")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    IS_OPEN_FIELD_NUMBER: _ClassVar[int]
    OPEN_SHARE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    USUAL_ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    layer: str
    filter: int
    is_open: bool
    open_share: float
    activation: float
    usual_activation: float
    contribution: float
    sentence: str
    def __init__(self, layer: _Optional[str] = ..., filter: _Optional[int] = ..., is_open: _Optional[bool] = ..., open_share: _Optional[float] = ..., activation: _Optional[float] = ..., usual_activation: _Optional[float] = ..., contribution: _Optional[float] = ..., sentence: _Optional[str] = ...) -> None: ...

class Rival(_message.Message):
    __slots__ = ("index", "label", "margin", "sentence")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    margin: float
    sentence: str
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., margin: _Optional[float] = ..., sentence: _Optional[str] = ...) -> None: ...

class NearImage(_message.Message):
    __slots__ = ("image", "index", "label", "differing")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_FIELD_NUMBER: _ClassVar[int]
    image: int
    index: int
    label: str
    differing: float
    def __init__(self, image: _Optional[int] = ..., index: _Optional[int] = ..., label: _Optional[str] = ..., differing: _Optional[float] = ...) -> None: ...

class GetBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBundleResponse(_message.Message):
    __slots__ = ("digest", "schema_version", "created", "classes", "alpha", "smallest_alpha", "confidence", "guarantee", "backbone", "input_height", "input_width", "layers", "levels", "default_level", "drift")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    SMALLEST_ALPHA_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_LEVEL_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    digest: str
    schema_version: int
    created: str
    classes: _containers.RepeatedCompositeFieldContainer[CalibratedClass]
    alpha: float
    smallest_alpha: float
    confidence: float
    guarantee: str
    backbone: str
    input_height: int
    input_width: int
    layers: _containers.RepeatedCompositeFieldContainer[GatedLayer]
    levels: _containers.RepeatedCompositeFieldContainer[CalibratedLevel]
    default_level: Level
    drift: TrafficDrift
    def __init__(self, digest: _Optional[str] = ..., schema_version: _Optional[int] = ..., created: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[CalibratedClass, _Mapping]]] = ..., alpha: _Optional[float] = ..., smallest_alpha: _Optional[float] = ..., confidence: _Optional[float] = ..., guarantee: _Optional[str] = ..., backbone: _Optional[str] = ..., input_height: _Optional[int] = ..., input_width: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[GatedLayer, _Mapping]]] = ..., levels: _Optional[_Iterable[_Union[CalibratedLevel, _Mapping]]] = ..., default_level: _Optional[_Union[Level, str]] = ..., drift: _Optional[_Union[TrafficDrift, _Mapping]] = ...) -> None: ...

class TrafficDrift(_message.Message):
    __slots__ = ("state", "since", "found", "advice", "layers")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    state: DriftState
    since: str
    found: str
    advice: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerShift]
    def __init__(self, state: _Optional[_Union[DriftState, str]] = ..., since: _Optional[str] = ..., found: _Optional[str] = ..., advice: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerShift, _Mapping]]] = ...) -> None: ...

class LayerShift(_message.Message):
    __slots__ = ("name", "ratio")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    name: str
    ratio: float
    def __init__(self, name: _Optional[str] = ..., ratio: _Optional[float] = ...) -> None: ...

class CalibratedClass(_message.Message):
    __slots__ = ("name", "calibration_images")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_IMAGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    calibration_images: int
    def __init__(self, name: _Optional[str] = ..., calibration_images: _Optional[int] = ...) -> None: ...

class CalibratedLevel(_message.Message):
    __slots__ = ("level", "passes", "copies", "fusion", "milliseconds_per_image")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    level: Level
    passes: int
    copies: _containers.RepeatedScalarFieldContainer[str]
    fusion: str
    milliseconds_per_image: float
    def __init__(self, level: _Optional[_Union[Level, str]] = ..., passes: _Optional[int] = ..., copies: _Optional[_Iterable[str]] = ..., fusion: _Optional[str] = ..., milliseconds_per_image: _Optional[float] = ...) -> None: ...

class GatedLayer(_message.Message):
    __slots__ = ("name", "gates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    gates: int
    def __init__(self, name: _Optional[str] = ..., gates: _Optional[int] = ...) -> None: ...
