//! What stands between a request and the routes: the origin policy, and how much one address or one user may do.

pub mod limits;
pub mod origin;
