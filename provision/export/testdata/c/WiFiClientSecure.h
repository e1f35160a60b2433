// The classes of the ESP8266's WiFiClientSecure that a header of tbcert uses. What they are given is parsed
// by BearSSL itself, as the ESP8266 does it.
#pragma once
#include <bearssl.h>
#include <stdlib.h>

#include <string>
#include <utility>
#include <vector>

#include "shown.h"

namespace BearSSL {

// The objects of a PEM text.
inline std::vector<std::pair<std::string, std::string>> decode(const char *pem) {
  static std::string *into;
  std::vector<std::pair<std::string, std::string>> objects;
  br_pem_decoder_context decoder;
  br_pem_decoder_init(&decoder);
  std::string body;
  for (size_t length = strlen(pem); length > 0;) {
    size_t taken = br_pem_decoder_push(&decoder, pem, length);
    pem += taken;
    length -= taken;
    switch (br_pem_decoder_event(&decoder)) {
    case BR_PEM_BEGIN_OBJ:
      objects.emplace_back(br_pem_decoder_name(&decoder), "");
      into = &objects.back().second;
      br_pem_decoder_setdest(&decoder, [](void *, const void *data, size_t n) { into->append((const char *)data, n); }, nullptr);
      break;
    case BR_PEM_ERROR:
      exit(4);
    }
  }
  return objects;
}

class X509List {
public:
  explicit X509List(const char *pem) : pem_(pem) {
    for (auto &object : decode(pem)) {
      br_x509_decoder_context decoder;
      br_x509_decoder_init(&decoder, nullptr, nullptr);
      br_x509_decoder_push(&decoder, object.second.data(), object.second.size());
      if (object.first != "CERTIFICATE" || br_x509_decoder_get_pkey(&decoder) == nullptr) {
        exit(5);
      }
    }
  }
  const char *pem_;
};

class PrivateKey {
public:
  explicit PrivateKey(const char *pem) : pem_(pem) {
    for (auto &object : decode(pem)) {
      br_skey_decoder_context decoder;
      br_skey_decoder_init(&decoder);
      br_skey_decoder_push(&decoder, object.second.data(), object.second.size());
      type_ = br_skey_decoder_key_type(&decoder);
      if (br_skey_decoder_last_error(&decoder) != 0) {
        exit(6);
      }
    }
  }
  const char *pem_;
  int type_;
};

class WiFiClientSecure {
public:
  void setTrustAnchors(const X509List *roots) { show("root", roots->pem_); }
  void setClientRSACert(const X509List *cert, const PrivateKey *key) { client(cert, key, BR_KEYTYPE_RSA); }
  void setClientECCert(const X509List *cert, const PrivateKey *key, unsigned usages, unsigned issuer) {
    client(cert, key, BR_KEYTYPE_EC);
    printf("usages %u issuer %u\n", usages, issuer);
  }

private:
  void client(const X509List *cert, const PrivateKey *key, int type) {
    show("certificate", cert->pem_);
    show("key", key->pem_);
    if (key->type_ != type) {
      exit(7);
    }
  }
};

} // namespace BearSSL
