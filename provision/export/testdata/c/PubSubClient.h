// The calls of Arduino's PubSubClient that a header of tbcert makes.
#pragma once
#include <stdint.h>

#include "shown.h"

class PubSubClient {
public:
  PubSubClient &setServer(const char *host, uint16_t port) {
    show("host", host);
    printf("port %u\n", (unsigned)port);
    return *this;
  }
  bool connect(const char *id) {
    show("client_id", id);
    return true;
  }
  bool connect(const char *id, const char *user, const char *pass) {
    show("username", user);
    show("password", pass);
    return connect(id);
  }
};
