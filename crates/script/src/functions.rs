//! Libraries of functions: loaded once, called by name, kept as their code.
//!
//! ```text
//! code ─► compiled and run ─► Prepared: what it registered ─► installed, if no name is taken ─► called by name
//! ```
//!
//! A library's code runs when it is loaded and registers its functions; it can do nothing else then. They are all there
//! afterwards, or none.
//!
//! Functions are found in any case of their letters, libraries in theirs only. Source: as Redis does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mlua::{Error, Function, Lua, MultiValue, Table, Value};

use crate::api::Shared;
use crate::raise::reply;
use crate::shebang::{NO_NAME, ScriptFlags, name_of};
use crate::text::number_text;

/// Functions of one library: as many as nobody writes by hand.
const FUNCTIONS_MAX: usize = 1000;

/// Bytes of their names and descriptions, which code can make of little.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A function that a library being loaded has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) name: String,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) flags: ScriptFlags,
    pub(crate) function: Function,
}

impl Registered {
    fn text_bytes(&self) -> usize {
        self.name.len() + self.description.as_ref().map_or(0, Vec::len)
    }
}

/// A function of a library.
#[derive(Debug, PartialEq, Eq)]
pub struct LibraryFunction {
    /// Its name, as it was registered.
    pub name: Arc<str>,
    /// What its library says of it.
    pub description: Option<Arc<[u8]>>,
    /// What it promises.
    pub flags: ScriptFlags,
    /// Its place in the engine's table of functions.
    pub(crate) id: i64,
}

/// A library: its functions are compiled.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its text, the first line included.
    pub code: Arc<[u8]>,
    /// Its functions, as they were registered.
    pub functions: Vec<Arc<LibraryFunction>>,
}

/// All libraries, and where each function is.
#[derive(Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<String, Library>,
    /// By their names in lower case, with the name of the library of each.
    functions: HashMap<String, (Arc<LibraryFunction>, String)>,
    code_bytes: usize,
}

impl Libraries {
    /// The libraries, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Library> {
        self.by_name.values()
    }

    /// The library of this name.
    pub fn library(&self, name: &str) -> Option<&Library> {
        self.by_name.get(name)
    }

    /// The function of this name, in any case of its letters.
    pub fn function(&self, name: &[u8]) -> Option<&Arc<LibraryFunction>> {
        let name = name_of(name)?;
        let found = self.functions.get(name).or_else(|| self.functions.get(&*name.to_ascii_lowercase()));
        found.map(|(function, _)| function)
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of the texts of all.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// The name of a function of `library` that another library has; those that `goes` names don't count.
    pub fn taken<'l>(&self, library: &'l Library, goes: impl Fn(&str) -> bool) -> Option<&'l str> {
        let mut names = library.functions.iter().map(|function| &*function.name);
        names.find(|name| {
            let found = self.functions.get(&*name.to_ascii_lowercase());
            found.is_some_and(|(_, of)| !goes(of))
        })
    }

    /// The name that two of these libraries both have for a function, or for themselves.
    pub fn twice(libraries: &[Library]) -> Option<Twice<'_>> {
        let (mut names, mut functions) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for library in libraries {
            if !names.insert(&*library.name) {
                return Some(Twice::Library(&library.name));
            }
            let mut of = library.functions.iter();
            if let Some(function) = of.find(|function| !functions.insert(function.name.to_ascii_lowercase()))
            {
                return Some(Twice::Function(&function.name));
            }
        }
        None
    }

    pub(crate) fn insert(&mut self, library: Library) {
        for function in &library.functions {
            let entry = (Arc::clone(function), library.name.clone());
            self.functions.insert(function.name.to_ascii_lowercase(), entry);
        }
        self.code_bytes += library.code.len();
        self.by_name.insert(library.name.clone(), library);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Library> {
        let library = self.by_name.remove(name)?;
        for function in &library.functions {
            self.functions.remove(&*function.name.to_ascii_lowercase());
        }
        self.code_bytes -= library.code.len();
        Some(library)
    }
}

/// What two libraries have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twice<'l> {
    /// Their name.
    Library(&'l str),
    /// A function of this name.
    Function(&'l str),
}

/// What libraries find under `redis` while they are loaded.
pub(crate) fn loading_library(lua: &Lua, redis: &Table, shared: &Arc<Shared>) -> mlua::Result<Table> {
    let loading = lua.create_table()?;
    let same = [
        "log",
        "LOG_DEBUG",
        "LOG_VERBOSE",
        "LOG_NOTICE",
        "LOG_WARNING",
        "REDIS_VERSION",
        "REDIS_VERSION_NUM",
    ];
    for name in same {
        loading.raw_set(name, redis.raw_get::<Value>(name)?)?;
    }
    let shared = Arc::clone(shared);
    loading.raw_set("register_function", lua.create_function(move |_, args| register(&args, &shared))?)?;
    Ok(loading)
}

/// `redis.register_function(name, callback)`, or with a table of named arguments.
fn register(args: &MultiValue, shared: &Shared) -> mlua::Result<()> {
    let mut registered = shared.registered.lock();
    let Some(registered) = &mut *registered else {
        return Err(refused("redis.register_function can only be called on FUNCTION LOAD command"));
    };
    let function = match args.len() {
        1 => named(&args[0])?,
        2 => positional(&args[0], &args[1])?,
        _ => return Err(refused("wrong number of arguments to redis.register_function")),
    };
    if registered.iter().any(|other| other.name.eq_ignore_ascii_case(&function.name)) {
        return Err(refused("Function already exists in the library"));
    }
    if registered.len() == FUNCTIONS_MAX {
        return Err(refused("a library has too many functions"));
    }
    let texts = registered.iter().chain([&function]).map(Registered::text_bytes);
    if texts.sum::<usize>() > TEXT_BYTES_MAX {
        return Err(refused("the names and descriptions of a library's functions are too long"));
    }
    registered.push(function);
    Ok(())
}

fn refused(text: &str) -> Error {
    reply(format!("ERR {text}"))
}

fn positional(name: &Value, callback: &Value) -> mlua::Result<Registered> {
    let Some(name) = text(name) else {
        return Err(refused("first argument to redis.register_function must be a string"));
    };
    let Value::Function(function) = callback else {
        return Err(refused("second argument to redis.register_function must be a function"));
    };
    let name = function_name(&name)?;
    Ok(Registered { name, description: None, flags: ScriptFlags::default(), function: function.clone() })
}

fn named(args: &Value) -> mlua::Result<Registered> {
    let Value::Table(args) = args else {
        return Err(refused(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named \
             arguments).",
        ));
    };
    let must_be = |argument: &str, what: &str| {
        refused(&format!("{argument} argument given to redis.register_function must be a {what}"))
    };
    let (mut name, mut description, mut function, mut flags) = (None, None, None, ScriptFlags::default());
    for pair in args.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(key) = text(&key) else {
            return Err(refused("named argument key given to redis.register_function is not a string"));
        };
        match (&*key.to_ascii_lowercase(), value) {
            (b"function_name", value) => {
                name = Some(text(&value).ok_or_else(|| must_be("function_name", "string"))?);
            }
            (b"description", value) => {
                description = Some(text(&value).ok_or_else(|| must_be("description", "string"))?);
            }
            (b"callback", Value::Function(given)) => function = Some(given),
            (b"callback", _) => return Err(must_be("callback", "function")),
            (b"flags", Value::Table(given)) => flags = flags_of(&given)?,
            (b"flags", _) => {
                return Err(refused(
                    "flags argument to redis.register_function must be a table representing function flags",
                ));
            }
            _ => return Err(refused("unknown argument given to redis.register_function")),
        }
    }
    let name = name.ok_or_else(|| refused("redis.register_function must get a function name argument"))?;
    let function = function.ok_or_else(|| refused("redis.register_function must get a callback argument"))?;
    Ok(Registered { name: function_name(&name)?, description, flags, function })
}

fn function_name(name: &[u8]) -> mlua::Result<String> {
    name_of(name).map(str::to_owned).ok_or_else(|| reply(NO_NAME))
}

fn flags_of(table: &Table) -> mlua::Result<ScriptFlags> {
    let mut flags = ScriptFlags::default();
    for index in 1.. {
        let flag: Value = table.raw_get(index)?;
        if flag == Value::Nil {
            break;
        }
        if !text(&flag).is_some_and(|name| flags.set(&name)) {
            return Err(refused("unknown flag given"));
        }
    }
    Ok(flags)
}

/// A string, or a number as one.
fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number_text(*number as f64)),
        Value::Number(number) => Some(number_text(*number)),
        _ => None,
    }
}
