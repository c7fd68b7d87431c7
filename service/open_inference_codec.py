"""Between messages of the Open Inference Protocol and the domain's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offpath.inference.v2 import open_inference_pb2 as pb

from detector.errors import BudgetError, InvalidInputError
from detector.pipeline import LevelName
from service.analysis import Analysed, Judged
from service.codec import AnalysisCall
from service.open_inference_inputs import INPUTS, InputTensor, SentTensor, images_of
from service.open_inference_outputs import OUTPUTS
from service.open_inference_tensors import shortened
from service.security.disclosure import check_right, p_value_bucket
from service.security.principal import Right, current_principal

__all__ = [
    "PARAMETERS",
    "InferCall",
    "decode_infer",
    "encode_infer",
    "encode_model",
    "parameter_field",
]

_RAW = "raw_input_contents"
_HTTP_HINTS = frozenset({"binary_data", "binary_data_output", "binary_data_size"})
"""How tensors lie in an HTTP body; KServe's client says so over gRPC as well, where it is plain."""
PARAMETERS = ("alpha", "level")
"""The parameters that a request may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferCall(AnalysisCall):
    """One request to ModelInfer.

    Args:
        id: The caller's name for it.
        outputs: Names of the outputs that are wanted, in their order.
    """

    id: str
    outputs: tuple[str, ...]


def decode_infer(request: pb.ModelInferRequest, *, max_images: int) -> InferCall:
    """What a request asks for.

    Args:
        request: The message.
        max_images: Most images in one request.

    Raises:
        InvalidInputError: If an input, output or parameter is not one of the model, or contents do
            not agree with datatype and shape.
        BudgetError: If alpha is no number.
        PermissionDeniedError: If an output is asked for that the caller may not be told.
    """
    _check_parameters(request.parameters, known=PARAMETERS, field="parameters")
    return InferCall(
        images=images_of(_decode_input(request), max_images=max_images),
        alpha=_decode_alpha(request.parameters),
        level=_decode_level(request.parameters),
        size_bytes=request.ByteSize(),
        id=request.id,
        outputs=_decode_outputs(request.outputs),
    )


def parameter_field(name: str) -> str:
    """Where a parameter of a request stands."""
    return f'parameters["{name}"]'


def _check_parameters(
    parameters: Mapping[str, pb.InferParameter], *, known: Sequence[str] = (), field: str
) -> None:
    unknown = sorted(set(parameters) - _HTTP_HINTS - set(known))
    if unknown:
        raise InvalidInputError(
            f"{field} should have no other names than: {', '.join(known) or 'none at all'}. "
            f"Found {shortened(unknown[0])}. Leave it out: what it asks for would not be done.",
            field=field,
        )


def _decode_alpha(parameters: Mapping[str, pb.InferParameter]) -> float | None:
    if "alpha" not in parameters:
        return None
    sent = parameters["alpha"]
    match sent.WhichOneof("parameter_choice"):
        case "double_param":
            return sent.double_param
        case "string_param":
            try:
                return float(sent.string_param)
            except ValueError:
                found = shortened(sent.string_param)
        case other:
            found = other or "nothing"
    raise BudgetError(
        "alpha should be a number in (0, 1), as double_param or written out as string_param. "
        f"Found {found}.",
        field=parameter_field("alpha"),
    )


def _decode_level(parameters: Mapping[str, pb.InferParameter]) -> LevelName | None:
    if "level" not in parameters:
        return None
    sent = parameters["level"]
    choice = sent.WhichOneof("parameter_choice")
    try:
        return LevelName(sent.string_param)
    except ValueError as error:
        found = shortened(sent.string_param) if choice == "string_param" else choice or "nothing"
        raise InvalidInputError(
            f"level should be one of {', '.join(LevelName)}, as string_param. Found {found}.",
            field=parameter_field("level"),
        ) from error


def _decode_outputs(
    outputs: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor],
) -> tuple[str, ...]:
    names = tuple(output.name for output in outputs)
    for index, (name, output) in enumerate(zip(names, outputs, strict=True)):
        field = f"outputs[{index}]"
        if name not in OUTPUTS or name in names[:index]:
            raise InvalidInputError(
                f"An output should be one of {', '.join(OUTPUTS)}, each asked for once. "
                f"Found {shortened(name)}{' twice' if name in OUTPUTS else ''}.",
                field=f"{field}.name",
            )
        _check_parameters(output.parameters, field=f"{field}.parameters")
        right = OUTPUTS[name].right
        if right is not None:
            check_right(current_principal(), right, name, asked=True)
    rights = current_principal().rights
    return names or tuple(
        name for name, each in OUTPUTS.items() if each.right is None or each.right in rights
    )


def _decode_input(request: pb.ModelInferRequest) -> SentTensor:
    if len(request.inputs) != 1:
        raise InvalidInputError(
            f"A request should have exactly one input, {' or '.join(INPUTS)}. "
            f"Found {len(request.inputs)}.",
            field="inputs",
        )
    (tensor,) = request.inputs
    kind = _kind_of(tensor)
    _check_parameters(tensor.parameters, field="inputs[0].parameters")
    elements, field = _elements(request, kind)
    return SentTensor(
        kind=kind,
        shape=tuple(tensor.shape),
        shape_field="inputs[0].shape",
        elements=elements,
        field=field,
    )


def _kind_of(tensor: pb.ModelInferRequest.InferInputTensor) -> InputTensor:
    kind = INPUTS.get(tensor.name)
    if kind is None:
        raise InvalidInputError(
            f"An input should be {' or '.join(INPUTS)}. Found {shortened(tensor.name)}.",
            field="inputs[0].name",
        )
    if tensor.datatype != kind.datatype:
        raise InvalidInputError(
            f"{kind.name} should have the datatype {kind.datatype}. "
            f"Found {shortened(tensor.datatype)}.",
            field="inputs[0].datatype",
        )
    return kind


def _elements(
    request: pb.ModelInferRequest, kind: InputTensor
) -> tuple[bytes | Sequence[Any], str]:
    """The elements of the only input, and the field in which they were sent."""
    contents = request.inputs[0].contents
    listed = [descriptor.name for descriptor, _ in contents.ListFields()]
    if request.raw_input_contents and listed:
        raise InvalidInputError(
            f"inputs[0].contents should stay empty where {_RAW} has the elements. Found both. "
            "Send them in one of the two.",
            field="inputs[0].contents",
        )
    if listed:
        if listed != [kind.listed_as]:
            raise InvalidInputError(
                f"{kind.datatype} elements should stand in {kind.listed_as}. "
                f"Found {', '.join(listed)}.",
                field="inputs[0].contents",
            )
        return getattr(contents, kind.listed_as), f"inputs[0].contents.{kind.listed_as}"
    if len(request.raw_input_contents) != 1:
        raise InvalidInputError(
            f"{_RAW} should have one entry for the one input, unless its elements stand in "
            f"inputs[0].contents. Found {len(request.raw_input_contents)}.",
            field=_RAW,
        )
    return request.raw_input_contents[0], f"{_RAW}[0]"


def encode_infer(
    call: InferCall, analysed: Analysed, *, name: str, version: str, request_id: str
) -> pb.ModelInferResponse:
    """The answer to one request.

    Args:
        call: What was asked for.
        analysed: What is said about its images.
        name: Name of the model.
        version: Its version.
        request_id: Name of the call in the server's log.
    """
    exact = Right.SCORE in current_principal().rights
    images = analysed.images if exact else tuple(_coarse(image) for image in analysed.images)
    sizes = {"images": len(images), "classes": images[0].row.batch.class_logits.shape[1]}
    outputs = [OUTPUTS[output] for output in call.outputs]
    return pb.ModelInferResponse(
        model_name=name,
        model_version=version,
        id=call.id,
        parameters={
            "level": pb.InferParameter(string_param=analysed.level.name),
            "request_id": pb.InferParameter(string_param=request_id),
            **({} if exact else {"p_value_is_bucket": pb.InferParameter(bool_param=True)}),
        },
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=output.datatype, shape=output.shape(**sizes)
            )
            for output in outputs
        ],
        raw_output_contents=[output.pack(images) for output in outputs],
    )


def _coarse(image: Judged) -> Judged:
    """The same with the p-value's bucket in place of the p-value."""
    p_value = p_value_bucket(image.detection.p_value)
    return replace(image, detection=replace(image.detection, p_value=p_value))


def encode_model(*, name: str, version: str, classes: int) -> pb.ModelMetadataResponse:
    """What a model takes and gives.

    Args:
        name: Its name.
        version: Its version.
        classes: Number of its classes.
    """
    metadata = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=name,
        versions=[version],
        platform="pytorch_safetensors",
        inputs=[metadata(name=e.name, datatype=e.datatype, shape=e.shape) for e in INPUTS.values()],
        outputs=[
            metadata(
                name=each.name,
                datatype=each.datatype,
                shape=each.shape(images=-1, classes=classes),
            )
            for each in OUTPUTS.values()
        ],
    )
