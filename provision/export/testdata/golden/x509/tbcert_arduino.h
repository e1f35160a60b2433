/*
 * How this device reaches ThingsBoard over MQTTS, for Arduino on the ESP32. Written by tbcert. It holds the
 * device's secret: keep it out of version control. What is compiled in stands in the flash, where whoever
 * has the chip can read it unless flash encryption is on.
 *
 *   #include <WiFiClientSecure.h>
 *   #include <PubSubClient.h>
 *   #include "tbcert_arduino.h"
 *
 *   WiFiClientSecure secure;
 *   PubSubClient mqtt(secure);
 *   ...
 *   tbcertTrust(secure);
 *   if (tbcertConnect(mqtt)) mqtt.publish(TBCERT_TOPIC, "{\"temperature\":25}");
 *
 * Set the clock first, with configTime(): a certificate is not valid in 1970.
 */
#ifndef TBCERT_ARDUINO_H
#define TBCERT_ARDUINO_H

static const char TBCERT_DEVICE[] = "gate-1";
static const char TBCERT_HOST[] = "tb.example.com";
static const unsigned short TBCERT_PORT = 8883;
static const char TBCERT_TOPIC[] = "v1/devices/me/telemetry";
static const char TBCERT_CLIENT_ID[] = "gate-1";

static const char TBCERT_CA_ROOT[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBhjCCASygAwIBAgIRAIY7yMEZF0/TxdGa8klzKKwwCgYIKoZIzj0EAwIwITEf\n"
    "MB0GA1UEAxMWdGIuZXhhbXBsZS5jb20gUm9vdCBDQTAeFw0yNjExMjMwMjUzMjBa\n"
    "Fw00NjExMjQwMjUzMjBaMCExHzAdBgNVBAMTFnRiLmV4YW1wbGUuY29tIFJvb3Qg\n"
    "Q0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATDcB1C5+1/BAkMxicFLPA5wXaR\n"
    "L+yJAIsMvYRtfp5Xbsbin6ZMTA040svTA0+ViHjxsoB8IbXuot0rpjCd4VZ5o0Uw\n"
    "QzAOBgNVHQ8BAf8EBAMCAQYwEgYDVR0TAQH/BAgwBgEB/wIBATAdBgNVHQ4EFgQU\n"
    "1OYmkeX5pCpQ5DXVlYzLtFCMb7MwCgYIKoZIzj0EAwIDSAAwRQIgCIMNVMMcKCH6\n"
    "RNxnDTwPQzaYigMqp0shIoHlpYkUieQCIQDKA8XmooVaLoaHI9EdJ4p68IuRosKt\n"
    "7L95Vls2pQiKmw==\n"
    "-----END CERTIFICATE-----\n";

static const char TBCERT_CERTIFICATE[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBqTCCAU6gAwIBAgIRALMd13Jvq61kb00+c+PI55gwCgYIKoZIzj0EAwIwIzEh\n"
    "MB8GA1UEAxMYdGIuZXhhbXBsZS5jb20gRGV2aWNlIENBMB4XDTI2MTEyMzAyNTMy\n"
    "MFoXDTI4MTEyMzAyNTMxOVowETEPMA0GA1UEAxMGZ2F0ZS0xMFkwEwYHKoZIzj0C\n"
    "AQYIKoZIzj0DAQcDQgAEQAempY7hyMGzIOeR5bAxAiLXPIirLk2CgvwXLiC9Ykud\n"
    "g7xnNmD0ilzlDEf1zaWTtFxzIM78E92M/NY8ifRBPKN1MHMwDgYDVR0PAQH/BAQD\n"
    "AgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMCMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYE\n"
    "FMFfiFZ6qZt1l91kaL3deZ8RZIt3MB8GA1UdIwQYMBaAFPh+VnrxYgl5h6MxDpwE\n"
    "iQ5ENhzBMAoGCCqGSM49BAMCA0kAMEYCIQCkK6aFD2LR8quzJuK1BeyqZ8H1zmJV\n"
    "/qNwKNaHwp9CVQIhAO3a9EWDYwRM1CaDAlpeUvt8AbQiR/1stKx0/bZwBSmA\n"
    "-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBvTCCAWOgAwIBAgIQRZjl6nAvmtWILv5f3CgDkjAKBggqhkjOPQQDAjAhMR8w\n"
    "HQYDVQQDExZ0Yi5leGFtcGxlLmNvbSBSb290IENBMB4XDTI2MTEyMzAyNTMyMFoX\n"
    "DTM2MTEyNDAyNTMyMFowIzEhMB8GA1UEAxMYdGIuZXhhbXBsZS5jb20gRGV2aWNl\n"
    "IENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgseaFHE4HDjg4YzBRfzF4u5d\n"
    "bKPRq9AjOg+ngH14IOWcHsYwfA4sUyOsd5w1EU2xBRlbk0bxj4O4J6MWDgCEoqN7\n"
    "MHkwDgYDVR0PAQH/BAQDAgEGMBMGA1UdJQQMMAoGCCsGAQUFBwMCMBIGA1UdEwEB\n"
    "/wQIMAYBAf8CAQAwHQYDVR0OBBYEFPh+VnrxYgl5h6MxDpwEiQ5ENhzBMB8GA1Ud\n"
    "IwQYMBaAFNTmJpHl+aQqUOQ11ZWMy7RQjG+zMAoGCCqGSM49BAMCA0gAMEUCIQDl\n"
    "gRpyzg52U0mrSJ4Qezkrjt/GvkpvJPX4/GJ20ZUYXwIgcohbYKaWsKMoGX/Qu5mO\n"
    "SqJxBt9PQB/ywiwNJIepAQ0=\n"
    "-----END CERTIFICATE-----\n";

static const char TBCERT_KEY[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgurSB3TxOdWOkpyjW\n"
    "ZeykAtNL3QLORKXogTRBVFhUM2ChRANCAARAB6aljuHIwbMg55HlsDECItc8iKsu\n"
    "TYKC/BcuIL1iS52DvGc2YPSKXOUMR/XNpZO0XHMgzvwT3Yz81jyJ9EE8\n"
    "-----END PRIVATE KEY-----\n";

// Makes a WiFiClientSecure (or NetworkClientSecure) trust the site's root, and gives it the device's certificate.
template <class Client> void tbcertTrust(Client &client) {
  client.setCACert(TBCERT_CA_ROOT);
  client.setCertificate(TBCERT_CERTIFICATE);
  client.setPrivateKey(TBCERT_KEY);
}

// Connects a PubSubClient as this device.
template <class Mqtt> bool tbcertConnect(Mqtt &mqtt) {
  mqtt.setServer(TBCERT_HOST, TBCERT_PORT);
  return mqtt.connect(TBCERT_CLIENT_ID);
}

#endif
