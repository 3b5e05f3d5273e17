//! XADD.

use super::trim::{TrimOptions, TrimRequest, trim};
use super::*;
use crate::stream::{AddError, IdRequest, content_iid};

pub(in crate::command) const XADD: Command<Run> = row(
    Spec {
        name: "xadd",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        complexity: "O(1); with trimming O(N) for N entries removed",
        summary: "Appends an entry to a stream and answers its ID.",
        syntax: "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer-id | IDMP producer-id idempotent-id] \
                 [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    xadd,
);

/// How a message says that it is sent once only.
#[derive(Debug, Clone, Copy)]
struct Idempotent<'a> {
    producer: &'a [u8],
    /// `None`: the content is the iid (IDMPAUTO).
    iid: Option<&'a [u8]>,
}

/// The options of XADD, read.
#[derive(Debug)]
struct Options<'a> {
    id: IdRequest,
    /// Where the fields start.
    fields_at: usize,
    create: bool,
    idempotent: Option<Idempotent<'a>>,
    trim: Option<TrimRequest>,
}

impl<'a> Options<'a> {
    fn read(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut trim = TrimOptions::default();
        let mut idempotent = None;
        let mut create = true;
        let mut index = 2;
        let id = loop {
            // Options may run up to the end: then fields are missing.
            let option = args.get(index).ok_or(Error::Arity { command: "xadd" })?;
            if option == b"*" {
                break IdRequest::Auto;
            }
            if let Some(next) = trim.read(args, index)? {
                index = next;
            } else if is(option, "NOMKSTREAM") {
                create = false;
                index += 1;
            } else if is(option, "IDMP") && index + 2 < args.len() {
                let iid = Some(text_at(args, index + 2));
                index = note_idempotent(
                    &mut idempotent,
                    Idempotent { producer: text_at(args, index + 1), iid },
                    index,
                )?;
            } else if is(option, "IDMPAUTO") && index + 1 < args.len() {
                let auto = Idempotent { producer: text_at(args, index + 1), iid: None };
                index = note_idempotent(&mut idempotent, auto, index)?;
            } else {
                let id = IdRequest::parse(option).ok_or(StreamError::InvalidId)?;
                if idempotent.is_some() {
                    return Err(StreamError::IdempotentExplicitId.into());
                }
                break id;
            }
        };
        let trim = trim.finish()?;
        let fields = args.len() - index - 1;
        if fields < 2 || !fields.is_multiple_of(2) {
            return Err(Error::Arity { command: "xadd" });
        }
        if id == IdRequest::Exact(EntryId::MIN) {
            return Err(StreamError::IdZero.into());
        }
        Ok(Options { id, fields_at: index + 1, create, idempotent, trim })
    }
}

/// Notes IDMP or IDMPAUTO at `index`; returns the index behind it.
fn note_idempotent<'a>(
    noted: &mut Option<Idempotent<'a>>,
    idempotent: Idempotent<'a>,
    index: usize,
) -> Result<usize, Error> {
    if noted.is_some() {
        return Err(StreamError::IdempotentTwice.into());
    }
    if idempotent.producer.is_empty() {
        let option = if idempotent.iid.is_some() { "IDMP" } else { "IDMPAUTO" };
        return Err(StreamError::ProducerEmpty { option }.into());
    }
    if idempotent.iid.is_some_and(<[u8]>::is_empty) {
        return Err(StreamError::IidEmpty.into());
    }
    *noted = Some(idempotent);
    Ok(index + if idempotent.iid.is_some() { 3 } else { 2 })
}

/// What an XADD did.
enum Added {
    Entry {
        id: EntryId,
        trimmed: u64,
    },
    /// The message was there already, under this ID.
    Duplicate(EntryId),
}

fn xadd(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let options = Options::read(args)?;
    let now_ms = ctx.now_ms;
    let settings = ctx.stream_settings(&args[1]);
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    let next = match stream_in(&slot)? {
        Some(stream) => stream.next_id(options.id, now_ms),
        None if !options.create => {
            reply.null();
            return Ok(Outcome::Replied);
        }
        None => Stream::new().next_id(options.id, now_ms),
    };
    let id = next.map_err(|error| match error {
        AddError::IdTooSmall => StreamError::IdTooSmall,
        AddError::IdsExhausted => StreamError::IdsExhausted,
    })?;
    if let Some(request) = options.trim
        && let Some(stream) = stream_in(&slot)?
    {
        caller.check_work(stream.work_of_trim(request.resolve(settings.limits), 1, APART_MIN))?;
    }
    if slot.is_empty() {
        slot.create_stream();
    }
    let added = slot.edit_stream(|stream, recorder| {
        add(stream, recorder, &options, Texts::from(args, options.fields_at), id, settings, now_ms)
    });
    match added {
        Some(Added::Entry { id, trimmed }) => {
            slot.touch();
            slot.event(event::XADD);
            if trimmed > 0 {
                slot.event(event::XTRIM);
            }
            write_id(reply, id);
        }
        Some(Added::Duplicate(original)) => {
            slot.count_change();
            write_id(reply, original);
        }
        // The slot was found to hold a stream, or got one.
        None => return Err(Error::WrongType),
    }
    Ok(Outcome::Replied)
}

fn add(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    options: &Options<'_>,
    fields: Texts<'_>,
    id: EntryId,
    settings: StreamSettings,
    now_ms: u64,
) -> Added {
    if let Some(idempotent) = options.idempotent
        && let Some(original) = remember(stream, recorder, idempotent, fields, id, settings, now_ms)
    {
        return Added::Duplicate(original);
    }
    // `next_id` made sure that the ID is above the last one.
    let appended = stream.append(id, fields, settings.limits);
    debug_assert_eq!(appended, Ok(()));
    recorder.record_add(id, fields);
    let trimmed = options.trim.map_or(0, |request| trim(stream, recorder, request.resolve(settings.limits)));
    Added::Entry { id, trimmed }
}

/// The entry that this message added before; or else it is remembered to add `id`.
fn remember(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    idempotent: Idempotent<'_>,
    fields: Texts<'_>,
    id: EntryId,
    settings: StreamSettings,
    now_ms: u64,
) -> Option<EntryId> {
    let content;
    let iid = match idempotent.iid {
        Some(iid) => iid,
        None => {
            content = content_iid(fields);
            &content
        }
    };
    if stream.idempotence().is_none() {
        recorder.record(&Change::Configure(settings.idempotence));
    }
    let maps = stream.idempotence_mut(settings.idempotence);
    if let Some(original) = maps.original(idempotent.producer, iid, now_ms) {
        recorder.record(&Change::Duplicate);
        return Some(original);
    }
    maps.remember(idempotent.producer, iid, id, now_ms);
    recorder.record(&Change::Remember { producer: idempotent.producer, iid, id, since_ms: now_ms });
    None
}
