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
use engine::telemetry::ExecutorReport;
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status, Streaming};

use super::membership::Membership;

/// Receives reports and keeps the membership.
#[derive(Debug, Clone)]
pub struct ReportService {
    membership: Arc<Membership>,
    streams: Arc<AtomicU64>,
}

impl ReportService {
    /// A service that tells `membership`.
    pub fn new(membership: Arc<Membership>) -> Self {
        Self { membership, streams: Arc::default() }
    }
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
        let membership = Arc::clone(&self.membership);
        let stops = BroadcastStream::new(membership.stops());
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut reporter = None;
            // Ends in order when the executor stops, in error when its connection breaks.
            while let Ok(Some(message)) = reports.message().await {
                if let Ok(report) = serde_json::from_slice::<ExecutorReport>(&message.app_metadata) {
                    reporter = Some(report.executor_id.clone());
                    membership.heard(stream, report);
                }
            }
            if let Some(id) = reporter {
                membership.stream_ended(stream, &id);
            }
        });
        // Answered with the jobs that are to stop, never closed from here: the executor watches this half.
        let told = stops.filter_map(|job| async {
            let job = job.ok()?;
            Some(Ok(PutResult { app_metadata: job.as_str().to_owned().into() }))
        });
        Ok(Response::new(Box::pin(told.chain(futures::stream::pending()))))
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
