//! The configuration: redis.conf's language, read once into typed values.
//!
//! ```text
//! redis.conf ─► words ─┐
//! --name value ────────┴► directive ─► row of `OPTIONS` ─► field of `Config`
//!                                          │
//!             CONFIG GET · SET · REWRITE ◄─┴─► docs/configuration.md
//! ```
//!
//! `Config` is a plain value. CONFIG SET makes a changed copy and the server puts it in the old one's place once every
//! change has taken effect, so that a failed CONFIG SET leaves nothing behind.
//!
//! - `options`: the table; one `row` an option. `value`, `choice` and `compound`: the types that a field can have.
//! - `load`: files and the command line; `words` splits lines, `include` finds files, `foreign` knows Redis's names, `fixed` those
//!   that have one value here.
//! - `live`: CONFIG GET and SET. `rewrite`: CONFIG REWRITE. `page`: the reference page.

#![forbid(unsafe_code)]

mod choice;
mod compound;
mod fixed;
mod foreign;
mod include;
mod live;
mod load;
mod options;
mod origins;
mod page;
mod pusher;
mod retain;
mod rewrite;
mod row;
mod value;
mod words;

pub use choice::{
    AclPubsubDefault, AppendFsync, DebugCommand, HttpMetrics, LogFormat, LogLevel, MaxmemoryPolicy,
    Supervised, SyslogFacility, TlsAuthClients,
};
pub use compound::{
    BindAddress, KeyEvents, LineChecks, MemoryShare, OutputLimit, OutputLimits, Percentiles, RenamedCommand,
    SavePoint, SavePoints, TlsProtocols, UserLine,
};
pub use live::SetError;
pub use load::{ConfigError, Loaded, Origin, Warning, nearest};
pub use options::{Config, OPTIONS};
pub use origins::Origins;
pub use page::{reference_page, sample_file};
pub use pusher::{PusherApp, PusherApps};
pub use retain::{RetainRule, RetainRules};
pub use rewrite::{RewriteError, replace_file};
pub use row::{Mutability, OptionRow, Section};
pub use value::{Kind, ValueError, memory};
