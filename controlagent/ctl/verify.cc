#include "ctl/verify.h"

#include <charconv>
#include <chrono>
#include <optional>

#include "ctl/value.h"
#include "ctl/views.h"
#include "identity/chain_report.h"
#include "local/read_file.h"

namespace culvert::ctl {

namespace {

template <int N>
std::optional<int> number(std::string_view text) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + N, out);
  if (error != std::errc{} || end != text.data() + N) return std::nullopt;
  return out;
}

// "2026-03-01T12:00:00Z", and nothing else: RFC 3339 in UTC, whole seconds.
std::optional<UnixTime> parse_time(std::string_view text) {
  if (text.size() != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' ||
      text[19] != 'Z') {
    return std::nullopt;
  }
  const auto year = number<4>(text), month = number<2>(text.substr(5)), day = number<2>(text.substr(8)),
             hour = number<2>(text.substr(11)), minute = number<2>(text.substr(14)),
             second = number<2>(text.substr(17));
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year}, std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour < 0 || *hour > 23 || *minute < 0 || *minute > 59 || *second < 0 || *second > 59) {
    return std::nullopt;
  }
  return UnixTime{std::chrono::sys_days{date}} + std::chrono::hours{*hour} + std::chrono::minutes{*minute} +
         std::chrono::seconds{*second};
}

Value instant(UnixTime time) { return Value::of(int64_t{time.time_since_epoch().count()} * 1000); }

Value to_value(const identity::ChainReport& report) {
  Value out = Value::map();
  out.set("good", report.good);
  out.set("error", report.sentence);
  Value chain = Value::list();
  for (const identity::CertificateFacts& facts : report.chain) {
    Value row = Value::map();
    row.set("subject", facts.subject);
    row.set("issuer", facts.issuer);
    Value sans = Value::list();
    for (const std::string& san : facts.uri_sans) sans.items.push_back(Value::of(san));
    row.set("uri_sans", std::move(sans));
    row.set("not_before_ms", instant(facts.not_before));
    row.set("not_after_ms", instant(facts.not_after));
    chain.items.push_back(std::move(row));
  }
  out.set("chain", std::move(chain));
  return out;
}

std::string show(const identity::ChainReport& report, const VerifyRequest& request) {
  std::string out = report.good ? "good: " + request.expect + "\n" : "not good: " + printable(report.sentence) + "\n";
  for (size_t i = 0; i < report.chain.size(); ++i) {
    const identity::CertificateFacts& facts = report.chain[i];
    out += "  " + std::to_string(i + 1) + "  ";
    std::string name = facts.subject;
    for (const std::string& san : facts.uri_sans) name += (name.empty() ? "" : ", ") + san;
    out += printable(name.empty() ? "without a name" : name) + "\n";
    out += "     issued by " + printable(facts.issuer) + ", valid from " + show_date(instant(facts.not_before)) +
           " until " + show_date(instant(facts.not_after)) + "\n";
  }
  return out;
}

int no_question(const std::string& sentence, const Output& output) {
  output.err("culvertctl: " + sentence + "\n");
  return kUsage;
}

}  // namespace

int verify(const VerifyRequest& request, bool json, const Output& output) {
  const auto expected = identity::SpiffeId::parse(request.expect);
  if (!expected) {
    return no_question("--expect: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT is accepted, not `" +
                           printable(request.expect) + "`",
                       output);
  }
  UnixTime now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  if (!request.at.empty()) {
    const auto at = parse_time(request.at);
    if (!at) {
      return no_question("--at: a time as 2026-03-01T12:00:00Z is accepted, not `" + printable(request.at) + "`",
                         output);
    }
    now = *at;
  }
  const auto roots = local::read_file(request.roots), chain = local::read_file(request.chain);
  for (const auto* file : {&roots, &chain}) {
    if (!*file) return no_question(printable(file->error()), output);
  }
  identity::ChainQuestion question;
  question.roots_pem = *roots;
  question.chain_pem = *chain;
  std::optional<std::string> crl;
  if (!request.crl.empty()) {
    auto file = local::read_file(request.crl);
    if (!file) return no_question(printable(file.error()), output);
    crl = std::move(*file);
    question.crl_file = *crl;
  }
  question.expected = *expected;
  question.purpose = request.role == "client" ? identity::Purpose::kClient : identity::Purpose::kServer;
  question.now = now;
  const auto report = identity::judge_chain(question);
  if (!report) return no_question(printable(report.error()), output);
  output.out(json ? to_json(to_value(*report)) : show(*report, request));
  return report->good ? kDone : kFailed;
}

}  // namespace culvert::ctl
