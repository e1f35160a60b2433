/* Configures an MQTT client with a header of tbcert, and lets mbedTLS parse what is in it. */
#include "tbcert_esp32.h"

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "shown.h"

static int parses(const char *pem)
{
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    int err = mbedtls_x509_crt_parse(&crt, (const unsigned char *)pem, strlen(pem) + 1);
    mbedtls_x509_crt_free(&crt);
    return err;
}

int main(void)
{
    esp_mqtt_client_config_t config = {0};
    tbcert_mqtt_config(&config);
    show("device", TBCERT_DEVICE);
    show("topic", TBCERT_TOPIC);
    show("host", config.broker.address.hostname);
    printf("port %u\n", (unsigned)config.broker.address.port);
    show("username", config.credentials.username);
    show("client_id", config.credentials.client_id);
    show("password", config.credentials.authentication.password);
    show("root", config.broker.verification.certificate);
    show("certificate", config.credentials.authentication.certificate);
    show("key", config.credentials.authentication.key);
    if (config.broker.address.transport != MQTT_TRANSPORT_OVER_SSL || sizeof(tbcert_ca_root) != strlen(tbcert_ca_root) + 1) {
        return 1;
    }
    if (parses(config.broker.verification.certificate) != 0) {
        return 2;
    }
    if (config.credentials.authentication.certificate != NULL) {
        const char *key = config.credentials.authentication.key;
        mbedtls_pk_context pk;
        mbedtls_pk_init(&pk);
        if (parses(config.credentials.authentication.certificate) != 0 ||
            mbedtls_pk_parse_key(&pk, (const unsigned char *)key, strlen(key) + 1, NULL, 0) != 0) {
            return 3;
        }
        mbedtls_pk_free(&pk);
    }
    return 0;
}
