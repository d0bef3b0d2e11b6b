// A data plane that says what a test wants, or that it is away.
#pragma once

#include <mutex>
#include <string>

#include "southbound/sight.h"

namespace culvert::admin {

class FakeSight final : public southbound::Sight {
 public:
  bool is_connected = true;
  southbound::Seen<southbound::DataPlaneStatus> status_{southbound::DataPlaneStatus()};
  southbound::Seen<std::vector<southbound::SessionRow>> sessions_{std::vector<southbound::SessionRow>()};
  southbound::Seen<std::vector<southbound::AttachmentRow>> attachments_{std::vector<southbound::AttachmentRow>()};
  southbound::Seen<std::vector<southbound::CounterRow>> counters_{std::vector<southbound::CounterRow>()};
  southbound::Seen<std::vector<southbound::CounterRow>> drops_{std::vector<southbound::CounterRow>()};
  southbound::Seen<southbound::Traffic> traffic_{southbound::Traffic()};
  southbound::Seen<std::vector<southbound::CertificateRow>> certificates_{std::vector<southbound::CertificateRow>()};
  southbound::Seen<southbound::CrlRow> crl_{southbound::CrlRow()};

  void go_away() {
    is_connected = false;
    status_ = std::string(southbound::kAway);
  }

  bool connected() const override { return is_connected; }
  southbound::Seen<southbound::DataPlaneStatus> status() override { return status_; }
  southbound::Seen<std::vector<southbound::SessionRow>> sessions() override { return sessions_; }
  southbound::Seen<std::vector<southbound::AttachmentRow>> attachments() override { return attachments_; }
  southbound::Seen<std::vector<southbound::CounterRow>> counters() override { return counters_; }
  southbound::Seen<std::vector<southbound::CounterRow>> drops() override { return drops_; }
  southbound::Seen<southbound::Traffic> traffic() override { return traffic_; }
  southbound::Seen<std::vector<southbound::CertificateRow>> certificates() override { return certificates_; }
  southbound::Seen<southbound::CrlRow> crl() override { return crl_; }
  southbound::Seen<southbound::DrainState> drain(std::optional<southbound::Millis>) override { return away(); }
  southbound::Seen<southbound::DrainState> drain_state() override { return away(); }

 private:
  static std::string away() { return southbound::kAway; }
};

}  // namespace culvert::admin
