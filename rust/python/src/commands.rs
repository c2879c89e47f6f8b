//! Commands from Python: dataclasses of `lkpy.engine.api`, told apart by the name of their class.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};

use engine::api::{
    Candidate, Command, CreateDownTrack, CreateReceiver, DtlsParameters, DtlsRole, Encoding,
    HeaderExtension, IceParameters, Id, MediaKind, PlayoutDelayLimits, RtpCodec, SendData,
};

/// The attribute `name` of `object`. An error names it.
pub(crate) fn get<'py, T>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let value = object.getattr(name)?;
    let extracted = value.extract().map_err(Into::<PyErr>::into);
    extracted.map_err(|error| {
        let py = object.py();
        let class = object.get_type();
        let class = class
            .name()
            .map_or_else(|_| String::new(), |name| name.to_string());
        let message = format!("{class}.{name}: {}", error.value(py));
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(message)
        } else {
            PyValueError::new_err(message)
        }
    })
}

/// The same for a time in milliseconds.
pub(crate) fn milliseconds(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    get(object, name).map(Duration::from_millis)
}

/// A command with a value that it cannot have: too large a port, a word that is none of an
/// enumeration's. Such values may come from a peer, so they are answered, not raised.
pub(crate) struct Refused {
    pub(crate) class: &'static str,
    pub(crate) subject: Id,
    pub(crate) message: String,
}

/// Reads one command. Raises `TypeError` for what is none.
pub(crate) fn read(command: &Bound<'_, PyAny>) -> PyResult<Result<Command, Refused>> {
    let name = command.get_type().name()?;
    let name = name.to_str()?;
    match read_fields(name, command) {
        Ok(command) => Ok(Ok(command)),
        Err(error) if error.is_instance_of::<PyValueError>(command.py()) => Ok(Err(Refused {
            class: CLASSES
                .into_iter()
                .find(|&class| class == name)
                .unwrap_or(""),
            subject: subject(command),
            message: error.value(command.py()).to_string(),
        })),
        Err(error) => Err(error),
    }
}

/// The id that a command is about: of what it creates, not of what that belongs to.
fn subject(command: &Bound<'_, PyAny>) -> Id {
    let names = [
        "down_track",
        "receiver",
        "data_down_track",
        "data_track",
        "transport",
    ];
    let mut ids = names.iter().filter_map(|&name| get(command, name).ok());
    ids.next().unwrap_or(0)
}

const CLASSES: [&str; 23] = [
    "CreateTransport",
    "SetRemoteParameters",
    "SetMaxMessageSize",
    "RestartIce",
    "AddRemoteCandidate",
    "CloseTransport",
    "CreateReceiver",
    "UpdateReceiver",
    "RenegotiateReceiver",
    "CloseReceiver",
    "RequestKeyFrame",
    "CreateDownTrack",
    "UpdateDownTrack",
    "RenegotiateDownTrack",
    "CloseDownTrack",
    "SetCongestionControl",
    "OpenDataChannel",
    "CreateDataTrack",
    "CloseDataTrack",
    "CreateDataDownTrack",
    "CloseDataDownTrack",
    "SendData",
    "CollectStats",
];

fn read_fields(class: &str, command: &Bound<'_, PyAny>) -> PyResult<Command> {
    Ok(match class {
        "CreateTransport" => Command::CreateTransport {
            transport: get(command, "transport")?,
            worker: get(command, "worker")?,
            ice: ice(command)?,
            ice_lite: get(command, "ice_lite")?,
            controlling: get(command, "controlling")?,
        },
        "SetRemoteParameters" => Command::SetRemoteParameters {
            transport: get(command, "transport")?,
            ice: ice(command)?,
            dtls: dtls(&command.getattr("dtls")?)?,
            remote_lite: get(command, "remote_lite")?,
        },
        "SetMaxMessageSize" => Command::SetMaxMessageSize {
            transport: get(command, "transport")?,
            bytes: get(command, "bytes")?,
        },
        "RestartIce" => Command::RestartIce {
            transport: get(command, "transport")?,
            ice: ice(command)?,
        },
        "AddRemoteCandidate" => Command::AddRemoteCandidate {
            transport: get(command, "transport")?,
            candidate: candidate(&command.getattr("candidate")?)?,
        },
        "CloseTransport" => Command::CloseTransport {
            transport: get(command, "transport")?,
        },
        "CreateReceiver" => Command::CreateReceiver(Box::new(create_receiver(command)?)),
        "UpdateReceiver" => Command::UpdateReceiver {
            receiver: get(command, "receiver")?,
            muted: get(command, "muted")?,
        },
        "RenegotiateReceiver" => Command::RenegotiateReceiver {
            receiver: get(command, "receiver")?,
            codecs: each(command, "codecs", codec)?,
            header_extensions: each(command, "header_extensions", header_extension)?,
            encodings: each(command, "encodings", encoding)?,
        },
        "CloseReceiver" => Command::CloseReceiver {
            receiver: get(command, "receiver")?,
        },
        "RequestKeyFrame" => Command::RequestKeyFrame {
            receiver: get(command, "receiver")?,
        },
        "CreateDownTrack" => Command::CreateDownTrack(Box::new(create_down_track(command)?)),
        "UpdateDownTrack" => Command::UpdateDownTrack {
            down_track: get(command, "down_track")?,
            max_spatial: layer(command, "max_spatial")?,
            max_temporal: layer(command, "max_temporal")?,
            muted: get(command, "muted")?,
        },
        "RenegotiateDownTrack" => Command::RenegotiateDownTrack {
            down_track: get(command, "down_track")?,
            codecs: each(command, "codecs", codec)?,
            header_extensions: each(command, "header_extensions", header_extension)?,
        },
        "CloseDownTrack" => Command::CloseDownTrack {
            down_track: get(command, "down_track")?,
        },
        "SetCongestionControl" => Command::SetCongestionControl {
            transport: get(command, "transport")?,
            allow_pause: get(command, "allow_pause")?,
            capacity_bps: get(command, "capacity_bps")?,
        },
        "OpenDataChannel" => Command::OpenDataChannel {
            transport: get(command, "transport")?,
            label: get(command, "label")?,
            ordered: get(command, "ordered")?,
            max_retransmits: get(command, "max_retransmits")?,
            negotiated: get(command, "negotiated")?,
        },
        "CreateDataTrack" => Command::CreateDataTrack {
            data_track: get(command, "data_track")?,
            transport: get(command, "transport")?,
            handle: get(command, "handle")?,
        },
        "CloseDataTrack" => Command::CloseDataTrack {
            data_track: get(command, "data_track")?,
        },
        "CreateDataDownTrack" => Command::CreateDataDownTrack {
            data_down_track: get(command, "data_down_track")?,
            transport: get(command, "transport")?,
            data_track: get(command, "data_track")?,
            handle: get(command, "handle")?,
        },
        "CloseDataDownTrack" => Command::CloseDataDownTrack {
            data_down_track: get(command, "data_down_track")?,
        },
        "SendData" => Command::SendData(SendData {
            channels: get(command, "channels")?,
            payload: Arc::from(&*get::<PyBackedBytes>(command, "payload")?),
            binary: get(command, "binary")?,
            source: get(command, "source")?,
        }),
        "CollectStats" => Command::CollectStats {
            request: get(command, "request")?,
        },
        other => return Err(PyTypeError::new_err(format!("{other} is not a command"))),
    })
}

/// A layer limit. Python may say "no limit" by any large number.
fn layer(command: &Bound<'_, PyAny>, name: &str) -> PyResult<i8> {
    let layer = get::<i64>(command, name)?.clamp(-1, i64::from(i8::MAX));
    Ok(i8::try_from(layer).unwrap_or(i8::MAX))
}

fn ice(command: &Bound<'_, PyAny>) -> PyResult<IceParameters> {
    let ice = command.getattr("ice")?;
    Ok(IceParameters {
        ufrag: get(&ice, "ufrag")?,
        pwd: get(&ice, "pwd")?,
    })
}

fn dtls(dtls: &Bound<'_, PyAny>) -> PyResult<DtlsParameters> {
    let role = match &*get::<PyBackedStr>(dtls, "role")? {
        "client" => DtlsRole::Client,
        "server" => DtlsRole::Server,
        other => return Err(unknown("DTLS role", other)),
    };
    Ok(DtlsParameters {
        algorithm: get(dtls, "algorithm")?,
        fingerprint: get(dtls, "fingerprint")?,
        role,
    })
}

fn candidate(candidate: &Bound<'_, PyAny>) -> PyResult<Candidate> {
    Ok(Candidate {
        foundation: get(candidate, "foundation")?,
        component: get(candidate, "component")?,
        protocol: get(candidate, "protocol")?,
        priority: get(candidate, "priority")?,
        address: get(candidate, "address")?,
        port: get(candidate, "port")?,
        kind: get(candidate, "type")?,
        tcp_type: get(candidate, "tcp_type")?,
    })
}

fn create_receiver(command: &Bound<'_, PyAny>) -> PyResult<CreateReceiver> {
    let kind = match &*get::<PyBackedStr>(command, "kind")? {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        other => return Err(unknown("media kind", other)),
    };
    Ok(CreateReceiver {
        receiver: get(command, "receiver")?,
        transport: get(command, "transport")?,
        mid: get(command, "mid")?,
        kind,
        codecs: each(command, "codecs", codec)?,
        header_extensions: each(command, "header_extensions", header_extension)?,
        encodings: each(command, "encodings", encoding)?,
        clock_group: get(command, "clock_group")?,
        screen_share: get(command, "screen_share")?,
    })
}

fn create_down_track(command: &Bound<'_, PyAny>) -> PyResult<CreateDownTrack> {
    Ok(CreateDownTrack {
        down_track: get(command, "down_track")?,
        transport: get(command, "transport")?,
        receiver: get(command, "receiver")?,
        mid: get(command, "mid")?,
        ssrc: get(command, "ssrc")?,
        rtx_ssrc: get(command, "rtx_ssrc")?,
        cname: get(command, "cname")?,
        codecs: each(command, "codecs", codec)?,
        header_extensions: each(command, "header_extensions", header_extension)?,
        max_spatial: layer(command, "max_spatial")?,
        max_temporal: layer(command, "max_temporal")?,
        muted: get(command, "muted")?,
        translate_red: get(command, "translate_red")?,
        playout_delay: get::<Option<(u16, u16)>>(command, "playout_delay")?
            .map(|(min_ms, max_ms)| PlayoutDelayLimits { min_ms, max_ms }),
        strip_trailer: get(command, "strip_trailer")?,
    })
}

fn codec(codec: &Bound<'_, PyAny>) -> PyResult<RtpCodec> {
    Ok(RtpCodec {
        payload_type: get(codec, "payload_type")?,
        mime_type: get(codec, "mime_type")?,
        clock_rate: get(codec, "clock_rate")?,
        channels: get(codec, "channels")?,
        rtx_payload_type: get(codec, "rtx_payload_type")?,
        fmtp: get(codec, "fmtp")?,
        nack: get(codec, "nack")?,
        pli: get(codec, "pli")?,
        transport_cc: get(codec, "transport_cc")?,
        remb: get(codec, "remb")?,
    })
}

fn header_extension(extension: &Bound<'_, PyAny>) -> PyResult<HeaderExtension> {
    Ok(HeaderExtension {
        id: get(extension, "id")?,
        uri: get(extension, "uri")?,
    })
}

fn encoding(encoding: &Bound<'_, PyAny>) -> PyResult<Encoding> {
    Ok(Encoding {
        spatial: get(encoding, "spatial")?,
        rid: get(encoding, "rid")?,
        ssrc: get(encoding, "ssrc")?,
        rtx_ssrc: get(encoding, "rtx_ssrc")?,
    })
}

/// The items of a sequence attribute.
fn each<'py, T>(
    object: &Bound<'py, PyAny>,
    name: &str,
    read: impl Fn(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let items = object.getattr(name)?;
    items.try_iter()?.map(|item| read(&item?)).collect()
}

fn unknown(what: &str, value: &str) -> PyErr {
    PyValueError::new_err(format!("{value:?} is not a {what}"))
}
