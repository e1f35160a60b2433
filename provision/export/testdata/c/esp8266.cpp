// Connects with a header of tbcert.
#include "PubSubClient.h"
#include "tbcert_esp8266.h"

int main() {
  BearSSL::WiFiClientSecure secure;
  PubSubClient mqtt;
  show("device", TBCERT_DEVICE);
  show("topic", TBCERT_TOPIC);
  tbcertTrust(secure);
  return tbcertConnect(mqtt) ? 0 : 1;
}
