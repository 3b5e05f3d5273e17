//! tmp
use crate::command::table::Row;
use std::sync::Arc;
use sterna_protocol::Args;
/// t
#[derive(Debug)]
pub struct User(Vec<u8>);
/// t
#[derive(Debug)]
pub struct Users(Arc<User>, Vec<u8>);
/// t
#[derive(Debug)]
pub struct Denied;
impl Denied {
    /** t */
    pub fn wire(&self) -> Vec<u8> {
        vec![]
    }
}
/// t
#[allow(missing_docs)]
impl User {
    pub fn name(&self) -> &[u8] {
        &self.0
    }
    pub fn is_unrestricted(&self) -> bool {
        true
    }
    pub fn is_enabled(&self) -> bool {
        true
    }
    pub fn is_nopass(&self) -> bool {
        true
    }
}
#[allow(missing_docs)]
impl Users {
    pub fn from_config(c: &crate::config::Config) -> Result<Users, String> {
        Ok(Users(Arc::new(User(b"default".to_vec())), c.requirepass.clone()))
    }
    pub fn default_user(&self) -> &Arc<User> {
        &self.0
    }
    pub fn authenticate(&self, _n: &[u8], p: &[u8]) -> Option<Arc<User>> {
        (p == &self.1[..]).then(|| self.0.clone())
    }
}
/// t
pub fn check(_u: &User, _r: &Row, _a: Args<'_>) -> Result<(), Denied> {
    Ok(())
}
