from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Place(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACE_UNSPECIFIED: _ClassVar[Place]
    PLACE_ACTIVE: _ClassVar[Place]
    PLACE_STANDBY: _ClassVar[Place]
    PLACE_PREVIOUS: _ClassVar[Place]
PLACE_UNSPECIFIED: Place
PLACE_ACTIVE: Place
PLACE_STANDBY: Place
PLACE_PREVIOUS: Place

class LoadedBundle(_message.Message):
    __slots__ = ("digest", "place", "created", "backbone", "alpha", "pending_images", "drift_found")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PENDING_IMAGES_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FOUND_FIELD_NUMBER: _ClassVar[int]
    digest: str
    place: Place
    created: str
    backbone: str
    alpha: float
    pending_images: int
    drift_found: str
    def __init__(self, digest: _Optional[str] = ..., place: _Optional[_Union[Place, str]] = ..., created: _Optional[str] = ..., backbone: _Optional[str] = ..., alpha: _Optional[float] = ..., pending_images: _Optional[int] = ..., drift_found: _Optional[str] = ...) -> None: ...

class ShadowReport(_message.Message):
    __slots__ = ("share", "calls", "dropped_calls", "failed_calls", "images", "class_disagreements", "verdict_disagreements", "mean_p_value_difference")
    SHARE_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_CALLS_FIELD_NUMBER: _ClassVar[int]
    FAILED_CALLS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    CLASS_DISAGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_DISAGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    MEAN_P_VALUE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    share: float
    calls: int
    dropped_calls: int
    failed_calls: int
    images: int
    class_disagreements: int
    verdict_disagreements: int
    mean_p_value_difference: float
    def __init__(self, share: _Optional[float] = ..., calls: _Optional[int] = ..., dropped_calls: _Optional[int] = ..., failed_calls: _Optional[int] = ..., images: _Optional[int] = ..., class_disagreements: _Optional[int] = ..., verdict_disagreements: _Optional[int] = ..., mean_p_value_difference: _Optional[float] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("bundles", "shadow")
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[LoadedBundle]
    shadow: ShadowReport
    def __init__(self, bundles: _Optional[_Iterable[_Union[LoadedBundle, _Mapping]]] = ..., shadow: _Optional[_Union[ShadowReport, _Mapping]] = ...) -> None: ...

class ListBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBundlesResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...

class LoadBundleRequest(_message.Message):
    __slots__ = ("folder",)
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    folder: str
    def __init__(self, folder: _Optional[str] = ...) -> None: ...

class LoadBundleResponse(_message.Message):
    __slots__ = ("loaded", "digest")
    LOADED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    digest: str
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ..., digest: _Optional[str] = ...) -> None: ...

class ShadowRequest(_message.Message):
    __slots__ = ("share",)
    SHARE_FIELD_NUMBER: _ClassVar[int]
    share: float
    def __init__(self, share: _Optional[float] = ...) -> None: ...

class ShadowResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollBackResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...

class UnloadRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class UnloadResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...

class ResetDriftRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResetDriftResponse(_message.Message):
    __slots__ = ("loaded",)
    LOADED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ...) -> None: ...
