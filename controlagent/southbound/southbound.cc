#include "southbound/southbound.h"

#include "southbound/certificate_keeper.h"
#include "southbound/connection.h"
#include "southbound/crl_keeper.h"
#include "southbound/link_keeper.h"
#include "southbound/log_keeper.h"
#include "southbound/mesh_keeper.h"
#include "southbound/session_sight.h"

namespace culvert::southbound {

struct Southbound::Impl {
  Impl(const Options& options, reconcile::MeshStore& store, node::Links& links_made, Sign sign, log::Log& log_to)
      : desired(store),
        log(log_to),
        links(options, links_made, log_to),
        mesh(store, options.retry_max, log_to),
        certificates(store, std::move(sign), options.certificate_retry_max, log_to),
        crls(log_to),
        log_levels(log_to),
        connection(
            options, [this](const SessionPtr& session) { on_session(session); },
            [this](const api::Event& event) { on_event(event); }, log_to) {}

  void on_session(const SessionPtr& session) {
    last_sequence = 0;
    links.set_session(session);
    mesh.set_session(session);
    certificates.set_session(session);
    crls.set_session(session);
    log_levels.set_session(session);
    sight.set_session(session);
  }

  void on_event(const api::Event& event) {
    // A gap: this watcher was too slow, and anything may have happened.
    if (event.sequence() != 0) {
      if (last_sequence != 0 && event.sequence() != last_sequence + 1) {
        links.on_event();
        certificates.wake();
      }
      last_sequence = event.sequence();
    }
    switch (event.what_case()) {
      case api::Event::kAttachment:
        links.on_event();
        certificates.wake();
        break;
      case api::Event::kCertificate:
        certificates.wake();
        break;
      case api::Event::kWanted:
        links.on_event();
        break;
      case api::Event::kWorker:
        log.warn("worker " + std::to_string(event.worker().index()) +
                 (event.worker().silent()
                      ? " of the data plane has been silent for " + std::to_string(event.worker().silent_ms()) + " ms"
                      : " of the data plane is back"));
        break;
      case api::Event::WHAT_NOT_SET:
        break;  // of a newer contract
    }
  }

  reconcile::MeshStore& desired;
  log::Log& log;
  uint64_t last_sequence = 0;  // connection's thread
  LinkKeeper links;
  MeshKeeper mesh;
  CertificateKeeper certificates;
  CrlKeeper crls;
  LogKeeper log_levels;
  SessionSight sight;
  Connection connection;
  bool running = false;
};

Southbound::Southbound(Options options, reconcile::MeshStore& mesh, node::Links& links, Sign sign, log::Log& log)
    : impl_(std::make_unique<Impl>(options, mesh, links, std::move(sign), log)) {
  mesh.on_change([this](bool identities) {
    impl_->mesh.wake();
    if (identities) impl_->certificates.wake();
  });
}

Southbound::~Southbound() {
  impl_->desired.on_change({});
  stop();
}

void Southbound::start() {
  impl_->running = true;
  impl_->links.start();
  impl_->mesh.start();
  impl_->certificates.start();
  impl_->crls.start();
  impl_->log_levels.start();
  impl_->connection.start();
}

void Southbound::stop() {
  if (!std::exchange(impl_->running, false)) return;
  impl_->connection.stop();
  impl_->links.stop();
  impl_->mesh.stop();
  impl_->certificates.stop();
  impl_->crls.stop();
  impl_->log_levels.stop();
  impl_->sight.stop();
}

void Southbound::set_links(std::vector<WantedLink> links) { impl_->links.set_links(std::move(links)); }

void Southbound::set_crl(std::vector<std::string> files) { impl_->crls.set_wanted(std::move(files)); }

void Southbound::set_log(LogSettings settings) { impl_->log_levels.set_wanted(std::move(settings)); }

Sight& Southbound::sight() { return impl_->sight; }

Progress Southbound::progress() const {
  return {.sessions = impl_->connection.sessions(),
          .mesh_transactions = impl_->mesh.transactions(),
          .mesh_records_sent = impl_->mesh.records(),
          .certificates_installed = impl_->certificates.sight().installed,
          .links_attached = impl_->links.attached(),
          .pods_started = impl_->links.pods_started(),
          .pods_stopped = impl_->links.pods_stopped(),
          .mesh_push_seconds = impl_->mesh.push_seconds()};
}

CertificateSight Southbound::certificates() const { return impl_->certificates.sight(); }

}  // namespace culvert::southbound
