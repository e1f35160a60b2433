// Connects with a header of tbcert.
#include "PubSubClient.h"
#include "tbcert_arduino.h"

class WiFiClientSecure {
public:
  void setCACert(const char *pem) { show("root", pem); }
  void setCertificate(const char *pem) { show("certificate", pem); }
  void setPrivateKey(const char *pem) { show("key", pem); }
};

int main() {
  WiFiClientSecure secure;
  PubSubClient mqtt;
  show("device", TBCERT_DEVICE);
  show("topic", TBCERT_TOPIC);
  tbcertTrust(secure);
  return tbcertConnect(mqtt) ? 0 : 1;
}
