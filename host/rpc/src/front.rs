//! What every call passes: caller, place, role; only then a service sees it.
//!
//! One place for all methods, the host's and the plugins', so that no handler can forget it. A path
//! that nobody serves is `UNIMPLEMENTED`, and no handler runs for it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use mintmark_custody::{PluginClaims, Session};
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_runtime::Route;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body, codegen::Service, service::Routes};

use crate::{
    caller::{Caller, Tally, Token},
    host::Host,
    limits, refusal,
    requests::Requests,
    roles, routing,
};

/// The first service of every connection.
#[derive(Clone)]
pub(crate) struct Front {
    host: Host,
    routes: Routes,
    calls: Arc<Semaphore>,
    calls_by_principal: Tally<Principal>,
    requests: Requests,
}

/// Who serves a path.
enum Target {
    /// The host.
    Host,
    /// A plugin.
    Plugin(Route),
}

impl Front {
    /// `routes` are the host's own services.
    pub(crate) fn new(host: Host, routes: Routes) -> Self {
        Self {
            host,
            routes,
            calls: Arc::new(Semaphore::new(limits::CALLS_MAX)),
            calls_by_principal: Tally::new(limits::CALLS_PER_PRINCIPAL_MAX),
            requests: Requests::new(),
        }
    }

    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let caller = match Caller::of(request.extensions()) {
            Ok(caller) => caller.clone(),
            Err(status) => return status.into_http(),
        };
        let path = request.uri().path().to_owned();
        let host = self.host.clone();
        let response = self.route(caller, &path, request).await;
        host.notice().await;
        response
    }

    async fn route(mut self, caller: Caller, path: &str, request: Request<Body>) -> Response<Body> {
        match self.admit(&caller, path).await {
            Ok((place, Target::Host)) => {
                // What is queued is committed whoever waits, and then memory has to learn of
                // it: the handler runs to its end.
                let response = tokio::spawn(self.routes.call(request)).await;
                let response = match response {
                    Ok(Ok(response)) => response,
                    Err(_) => Status::internal("The call failed; ask for the log.").into_http(),
                };
                response.map(|body| Body::new(Held { body, _place: place }))
            }
            Ok((place, Target::Plugin(route))) => {
                let runtime = self.host.runtime;
                let plugin = routing::Plugin { runtime, route, caller, requests: self.requests };
                let response = routing::serve(plugin, request).await;
                response.map(|body| Body::new(Held { body, _place: place }))
            }
            Err(status) => status.into_http(),
        }
    }

    async fn admit(&self, caller: &Caller, path: &str) -> Result<(Place, Target), Status> {
        let place = self.place(caller.principal())?;
        if let Some(allowed) = roles::of(path) {
            self.check(caller, allowed, path, None).await?;
            return Ok((place, Target::Host));
        }
        let Some(route) = self.host.runtime.route(path) else {
            return Err(Status::unimplemented("The host serves no such method."));
        };
        let claims = Some(Arc::clone(route.claims()));
        self.check(caller, route.roles(), path, claims).await?;
        Ok((place, Target::Plugin(route)))
    }

    fn place(&self, principal: &Principal) -> Result<Place, Status> {
        let place = Arc::clone(&self.calls).try_acquire_owned().ok();
        match place.zip(self.calls_by_principal.take(principal)) {
            Some((place, own)) => Ok(Place { _places: (place, own) }),
            None => {
                let detail = "Too many calls run at once.";
                Err(refusal::status(Refusal::new(Reason::Unavailable, detail).retry_after(250)))
            }
        }
    }

    /// Refuses a role that may not call the method, and who was revoked; the refusal is a row of
    /// the ledger.
    async fn check(
        &self,
        caller: &Caller,
        allowed: &[Role],
        path: &str,
        plugin: Option<Arc<PluginClaims>>,
    ) -> Result<(), Status> {
        let principal = caller.principal();
        // A connection may be older than the revocation.
        let revoked = self.host.custody.is_revoked(principal);
        if allowed.contains(&principal.role) && !revoked {
            return Ok(());
        }
        // The request itself is not read: nothing of it matters.
        let session = Session::new(principal.clone(), plugin, path, &[]);
        match self.host.custody.begin(session, None).await {
            Ok(call) => drop(call.abort(Reason::PermissionDenied).await),
            Err(refusal) if revoked => return Err(refusal::status(refusal)),
            Err(error) => tracing::warn!(%error, "a refusal has no row"),
        }
        let detail = format!("The role {} may not call this method.", principal.role.name());
        Err(refusal::status(Refusal::denied(detail)))
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that stays here is the one that was not asked whether it is ready.
        let clone = self.clone();
        let ready = std::mem::replace(self, clone);
        Box::pin(async move { Ok(ready.serve(request).await) })
    }
}

/// A call's place among all calls.
struct Place {
    _places: (OwnedSemaphorePermit, Token<Principal>),
}

/// An answer that holds its call's place until its last byte is gone.
struct Held {
    body: Body,
    _place: Place,
}

impl HttpBody for Held {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
