//! The middlewares between a request and the routes: the origin policy, and the limits of one address and one user.

pub mod limits;
pub mod origin;
