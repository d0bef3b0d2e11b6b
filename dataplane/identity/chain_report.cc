#include "identity/chain_report.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <memory>

#include "identity/certificate.h"
#include "identity/revocation.h"

namespace culvert::identity {

namespace {

struct Free {
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  void operator()(X509_STORE_CTX* context) const { X509_STORE_CTX_free(context); }
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string text_of(const X509_NAME* name) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* at = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &at);
  return {at, static_cast<size_t>(std::max(bytes, 0L))};
}

// "2026-03-01 12:00:00 UTC"
std::string text_of(const ASN1_TIME* time) {
  const UnixTime at = unix_time_of(time);
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date{day};
  const auto seconds = (at - day).count();
  char out[48];
  std::snprintf(out, sizeof(out), "%04d-%02u-%02u %02d:%02d:%02d UTC", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60));
  return out;
}

CertificateFacts facts_of(const x509_st* certificate) {
  return {text_of(X509_get_subject_name(certificate)), text_of(X509_get_issuer_name(certificate)),
          uri_sans(certificate), not_before(certificate), not_after(certificate)};
}

// "the leaf", "CN=Test intermediate"
std::string who(const std::vector<Certificate>& chain, const x509_st* certificate) {
  if (!certificate) return "a certificate";
  if (X509_cmp(certificate, chain.front().get()) == 0) return "the leaf";
  const std::string subject = text_of(X509_get_subject_name(certificate));
  return subject.empty() ? "a certificate without a subject" : subject;
}

std::string sentence_of(const std::vector<Certificate>& chain, X509_STORE_CTX* context, int error) {
  const x509_st* at = X509_STORE_CTX_get_current_cert(context);
  const std::string subject = who(chain, at);
  const std::string text = text_of_verify_error(error);
  switch (at ? error : X509_V_ERR_UNSPECIFIED) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return text + ": " + subject + " was valid until " + text_of(X509_get0_notAfter(at));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return text + ": " + subject + " is valid from " + text_of(X509_get0_notBefore(at));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return text + ": " + subject + " was issued by " + text_of(X509_get_issuer_name(at)) +
             ", and neither the chain nor the roots hold the certificate that did it";
    default:
      return text + ": " + subject;
  }
}

// What helps when the leaf does not bear what was expected though another certificate of the file does.
std::string misplaced(const std::vector<Certificate>& chain, const SpiffeId& expected) {
  const auto leaf = spiffe_ids(chain.front().get());
  if (std::find(leaf.begin(), leaf.end(), expected) != leaf.end()) return {};
  for (size_t i = 1; i < chain.size(); ++i) {
    const auto ids = spiffe_ids(chain[i].get());
    if (std::find(ids.begin(), ids.end(), expected) != ids.end()) {
      return "; certificate " + std::to_string(i + 1) + " of the file bears " + expected.uri() +
             ": the leaf has to come first";
    }
  }
  return {};
}

}  // namespace

Result<ChainReport, std::string> judge_chain(const ChainQuestion& question) {
  const auto chain = parse_pem_certificates(question.chain_pem);
  if (!chain) return Failure{"certificate chain: " + chain.error()};
  if (chain->empty()) return Failure{std::string("certificate chain: there is no certificate in it")};
  const auto roots = parse_pem_certificates(question.roots_pem);
  if (!roots) return Failure{"root certificates: " + roots.error()};
  if (roots->empty()) return Failure{std::string("root certificates: there is none, so no peer could be trusted")};
  std::shared_ptr<const CrlSet> lists;
  if (question.crl_file) {
    auto parsed = CrlSet::parse({*question.crl_file});
    if (!parsed) return Failure{"revocation lists: " + parsed.error()};
    lists = std::move(*parsed);
  }

  ChainReport report;
  for (const Certificate& certificate : *chain) report.chain.push_back(facts_of(certificate.get()));
  const Owned<X509_STORE> store(X509_STORE_new());
  const Owned<X509_STORE_CTX> context(X509_STORE_CTX_new());
  const Owned<STACK_OF(X509)> untrusted(sk_X509_new_null());
  if (!store || !context || !untrusted) return Failure{std::string("out of memory")};
  for (const Certificate& root : *roots) X509_STORE_add_cert(store.get(), root.get());
  for (size_t i = 1; i < chain->size(); ++i) sk_X509_push(untrusted.get(), (*chain)[i].get());
  if (X509_STORE_CTX_init(context.get(), store.get(), chain->front().get(), untrusted.get()) != 1) {
    return Failure{std::string("out of memory")};
  }
  const int error = verify_chain(context.get(), question.purpose, question.now);
  ERR_clear_error();
  const std::vector<std::string> sans = uri_sans(chain->front().get());
  if (error != X509_V_OK) {
    report.sentence = sentence_of(*chain, context.get(), error) + misplaced(*chain, question.expected);
    return report;
  }
  if (lists) {
    Revocation revocation;
    revocation.install(lists);
    ChainMark mark;
    if (revocation.judge(X509_STORE_CTX_get0_chain(context.get()), mark) == ChainVerdict::kRevoked) {
      report.sentence = text_of_verify_error(X509_V_ERR_CERT_REVOKED) + ": a list names a certificate of the chain";
      return report;
    }
  }
  const auto wrong = question.purpose == Purpose::kServer ? check_expected_peer(sans, {question.expected})
                                                          : check_trust_domain(sans, question.expected.trust_domain);
  if (wrong) {
    report.sentence = *wrong + misplaced(*chain, question.expected);
    return report;
  }
  report.good = true;
  return report;
}

}  // namespace culvert::identity
