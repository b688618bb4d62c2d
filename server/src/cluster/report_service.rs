//! Takes the reports of executors: one long Flight `DoPut` stream each, on the cluster's port.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use engine::telemetry::{CoordinatorMessage, ExecutorReport, SILENCE_MAX, VERSION};
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::membership::Membership;
use crate::profile::JobProfiles;

/// Receives reports and keeps the membership.
#[derive(Debug, Clone)]
pub struct ReportService {
    membership: Arc<Membership>,
    profiles: Arc<JobProfiles>,
    streams: Arc<AtomicU64>,
}

impl ReportService {
    /// A service that tells `membership`, and accounts how far tasks are.
    pub fn new(membership: Arc<Membership>, profiles: Arc<JobProfiles>) -> Self {
        Self { membership, profiles, streams: Arc::default() }
    }
}

fn report(message: &FlightData) -> Option<ExecutorReport> {
    serde_json::from_slice(&message.app_metadata).ok()
}

fn stranger(version: &str) -> String {
    format!("the coordinator is Sluice {VERSION}, this executor is {version}: both must be the same")
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

fn not_offered<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this port takes executors' reports only"))
}

#[async_trait]
impl FlightService for ReportService {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let mut reports = request.into_inner();
        let first = tokio::time::timeout(SILENCE_MAX, reports.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no report came"))??
            .as_ref()
            .and_then(report)
            .ok_or_else(|| Status::failed_precondition(stranger("of another version")))?;
        if first.version != VERSION {
            warn!(executor.id = %first.executor_id, version = first.version, "an executor of another version is refused");
            return Err(Status::failed_precondition(stranger(&first.version)));
        }
        let (membership, profiles) = (Arc::clone(&self.membership), Arc::clone(&self.profiles));
        // What it is to stop from now on is told after what it is welcomed with.
        let stops = BroadcastStream::new(membership.stops());
        let drains = BroadcastStream::new(membership.drains());
        let welcome = CoordinatorMessage::Welcome { jobs: membership.jobs() };
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let id = first.executor_id.clone();
        let named = id.clone();
        membership.joined(stream, first);
        let over = CancellationToken::new();
        let end = over.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            // Ends in order when the executor stops, in error when its connection breaks.
            while let Ok(Some(message)) = reports.message().await {
                let Some(report) = report(&message) else { continue };
                let tasks = report.tasks.clone();
                if !membership.heard(stream, report) {
                    // It was lost meanwhile: it must hear so, and join anew.
                    return;
                }
                for task in &tasks {
                    if let Some(profile) = profiles.of(&task.job_id) {
                        profile.progressed(task);
                    }
                }
            }
            membership.stream_ended(stream, &id);
        });
        // The executor watches this half.
        let stops = stops.filter_map(|job| async {
            Some(CoordinatorMessage::Stop { job: job.ok()?.as_str().to_owned() })
        });
        let drains = drains.filter_map(move |executor| {
            let is_meant = executor.is_ok_and(|executor| executor == named);
            futures::future::ready(is_meant.then_some(CoordinatorMessage::Drain))
        });
        let orders = futures::stream::select(stops, drains);
        let told = futures::stream::once(async { welcome }).chain(orders).map(|message| {
            let body = serde_json::to_vec(&message).expect("a message is plain data");
            Ok(PutResult { app_metadata: body.into() })
        });
        let told = told.chain(futures::stream::pending()).take_until(over.cancelled_owned());
        Ok(Response::new(Box::pin(told)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_offered()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_offered()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        not_offered()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        not_offered()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        not_offered()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        not_offered()
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        not_offered()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        not_offered()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        not_offered()
    }
}
